-- Purpose: find out whether scripts are allowed.
-- KEYS:    1 a key that nothing else uses
-- ARGV:    none
-- Returns: whether the key exists

return redis.call('EXISTS', KEYS[1])
