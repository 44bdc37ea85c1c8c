-- The first of each of these of a message is one seek, however many opens and recipients it has.
CREATE INDEX events_milestones ON events (message_id, type, id)
    WHERE type IN ('delivery.delivered', 'message.bounced', 'message.complained', 'message.opened', 'message.clicked', 'message.unsubscribed');
