-- Reads what was said of a breaker last.
-- KEYS[1]  as in breakers_write.lua
-- Returns the server's time in unix ms, and the fields as they stand there, cut behind what makes
-- sense; nothing if there is no such key, and one text if it is no hash.
if redis.call('EXISTS', KEYS[1]) == 0 then
  return {}
end
local time = redis.call('TIME')
local fields = redis.pcall('HMGET', KEYS[1], 'state', 'failures', 'lastFailure', 'epoch', 'until', 'by')
if fields.err then
  return {'no hash'}
end
local answer = {time[1] * 1000 + math.floor(time[2] / 1000)}
for i = 1, 6 do
  answer[i + 1] = string.sub(fields[i] or '', 1, 40)
end
return answer
