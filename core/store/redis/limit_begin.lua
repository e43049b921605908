-- Notes since when there are data, if that is not known yet.
-- KEYS[1] the epoch (limit_counter.lua)
-- ARGV[1] the lifetime of a lease in µs
-- Returns the µs until counters open: 0 where they are open. Complexity: O(1).
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local epoch = tonumber(redis.call('GET', KEYS[1]))
if not epoch or epoch > now then
  epoch = now
  redis.call('SET', KEYS[1], string.format('%.0f', epoch))
end
return math.max(0, epoch + ARGV[1] - now)
