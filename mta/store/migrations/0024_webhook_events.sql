-- What became of one event at one webhook.
CREATE INDEX webhook_deliveries_by_event ON webhook_deliveries (webhook_id, event_id, id);
