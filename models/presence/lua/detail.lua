-- Purpose: somebody has set a detail of a user: put this into the outbox, if the user is
--          online. The drainer reads the detail from the database.
-- KEYS:    1 online_users, 2 deadlines, 3 outbox, 4 drainer, 5 status
-- ARGV:    1 user id, 2 cause
-- Returns: 1 if the caller must request a drain, else 0

if redis.call('SISMEMBER', KEYS[1], ARGV[1]) == 0 then return 0 end
cause = ARGV[2]
add_detail_entry(ARGV[1], KEYS[5], 'set')
return needs_drain()
