"""Judging what others publish: white space, case and splits do no harm, and no text raises."""

from hypothesis import given
from hypothesis import strategies as st

from mta.control.inspect import judge_dmarc, judge_key
from mta.protocol import dkim

KEY = dkim.dns_value(dkim.load(dkim.generate("ed25519-sha256")))
RECORDS = st.lists(st.text(st.sampled_from('vpkhst=;: DKIM1DMARC1none"\\\t\u00e9')) | st.text(), min_size=1, max_size=3)


@given(RECORDS)
def test_no_key_record_raises(found: list[str]) -> None:
    status, said = judge_key(found, KEY, "s._domainkey.example.org")
    assert status == "failed" and said.endswith(".")


@given(RECORDS)
def test_no_policy_raises(found: list[str]) -> None:
    judged = judge_dmarc(found, "example.org", "shop.example.org")
    assert judged["status"] in ("verified", "failed") and judged["said"].endswith(".")


@given(st.lists(st.integers(0, len(KEY)), max_size=6), st.sampled_from([" ", "\t", "\r\n ", '" "']))
def test_white_space_anywhere_leaves_a_key_a_key(places: list[int], space: str) -> None:
    text = KEY
    for place in sorted(places, reverse=True):
        text = text[:place] + space + text[place:]
    assert judge_key([text], KEY, "s._domainkey.example.org")[0] == "verified"
