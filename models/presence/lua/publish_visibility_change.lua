-- Purpose: put a change of visibility into the outbox, for named viewers. Refused if the
--          user has had a transition since `start_visibility_change`: its fan-out may have
--          used the old rule, so the change needs a greater number.
-- KEYS:    1 online_users, 2 deadlines, 3 outbox, 4 drainer, 5 status
-- ARGV:    1 user id, 2 the number that start_visibility_change returned, 3 viewers who
--          are told online, 4 viewers who are told offline, as text, 5 cause
-- Returns: 1 if the caller must request a drain, 0 if not, -1 if refused

if ms(last_number(KEYS[5])) ~= ARGV[2] then return -1 end
cause = ARGV[5]
add_entry(VERSION, 'user_id', ARGV[1], 'timestamp', ARGV[2], 'online_to', ARGV[3],
  'offline_to', ARGV[4], activity_fields(KEYS[5]))
return needs_drain()
