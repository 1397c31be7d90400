-- migrate:up

-- A device that was stopped at its bridge is `paused` until somebody resumes it here or there.
ALTER TABLE devices DROP CONSTRAINT devices_state_check,
    ADD CONSTRAINT devices_state_check CHECK (state IN ('unlinked', 'linking', 'ready', 'paused',
        'throttled', 'disconnected', 'logged_out', 'incompatible', 'error'));

-- migrate:down

UPDATE devices SET state = 'disconnected' WHERE state = 'paused';
ALTER TABLE devices DROP CONSTRAINT devices_state_check,
    ADD CONSTRAINT devices_state_check CHECK (state IN ('unlinked', 'linking', 'ready', 'throttled',
        'disconnected', 'logged_out', 'incompatible', 'error'));
