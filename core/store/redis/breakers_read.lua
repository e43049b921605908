-- Reads what was said of a breaker last.
-- KEYS[1]  as in breakers_write.lua
-- Returns the server's time in unix ms, and the fields as they stand there; nothing if there is
-- no such key, and one text if it is no hash.
if redis.call('EXISTS', KEYS[1]) == 0 then
  return {}
end
local time = redis.call('TIME')
local fields = redis.pcall('HMGET', KEYS[1], 'state', 'failures', 'lastFailure', 'epoch', 'until')
if fields.err then
  return {'no hash'}
end
for i = 1, 5 do
  fields[i] = fields[i] or ''
end
return {time[1] * 1000 + math.floor(time[2] / 1000), fields[1], fields[2], fields[3], fields[4], fields[5]}
