-- Purpose: append a message to a gateway's stream, and extend the stream's TTL. A read does
--          not extend it, so the stream expires some time after its last message.
-- KEYS:    1 event stream of a gateway
-- ARGV:    1 maximum of messages, 2 TTL (ms), 3 name of the field, 4 message
-- Returns: id of the message

local function add()
  return redis.pcall('XADD', KEYS[1], 'MAXLEN', '~', ARGV[1], '*', ARGV[3], ARGV[4])
end

local id = add()
if type(id) == 'table' and id.err and id.err:find('WRONGTYPE') then
  redis.call('DEL', KEYS[1]) -- another program's value; the gateway notices the loss
  id = add()
end
if type(id) == 'table' and id.err then return id end
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return id
