-- Who may have to be told of a delay: what is not noted yet, in order of age. Mail that nobody asks about is noted from the start.
CREATE INDEX deliveries_delays ON deliveries (id)
    WHERE status IN ('queued', 'sending', 'deferred') AND delay_noticed_at IS NULL;

-- A sender and a status together: else a list with few hits reads all that the sender ever sent.
CREATE INDEX messages_by_sender_status ON messages (organization_id, test, from_address, status, id);
