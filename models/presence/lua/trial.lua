-- Purpose: find out whether scripts are allowed.
-- KEYS:    1 a key that nothing else uses
-- ARGV:    none
-- Returns: 1

return 1
