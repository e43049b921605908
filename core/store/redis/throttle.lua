-- Counts one attempt to log in, if one is allowed now.
-- KEYS[1]  a hash: n attempts, nxt (ms) before which nobody may try; it expires with its window
-- ARGV     free, most, window (ms), first delay (ms), ceiling (ms)
-- Returns 0, or how many ms to wait. core/account's Limit says what the numbers mean.
-- The time is the server's: gateways need not agree on it.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local free, most, window = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local first, ceiling = tonumber(ARGV[4]), tonumber(ARGV[5])

local nxt = tonumber(redis.call('HGET', KEYS[1], 'nxt') or 0)
if now < nxt then
  return nxt - now
end
local n = redis.call('HINCRBY', KEYS[1], 'n', 1)
local left = redis.call('PTTL', KEYS[1])
if left < 0 then -- the first attempt begins the window
  redis.call('PEXPIRE', KEYS[1], window)
  left = window
end

local delay = 0
if most > 0 and n >= most then
  delay = left
elseif n > free and first > 0 then
  delay = math.min(first * 2 ^ math.min(n - free - 1, 40), ceiling, left)
end
redis.call('HSET', KEYS[1], 'nxt', string.format('%.0f', now + delay))
return 0
