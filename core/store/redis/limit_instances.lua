-- Notes that an instance lives, and forgets those that were not heard of for a while.
-- KEYS[1] a sorted set of instances by the time of their last word, of this server's clock
-- ARGV[1] the instance; [2] for how many ms a word is good
-- Returns how many there are. Complexity: O(log n), and as many as are forgotten.
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', '(' .. (now - ARGV[2]))
redis.call('ZREMRANGEBYSCORE', KEYS[1], '(' .. now, '+inf') -- the clock went back
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return redis.call('ZCARD', KEYS[1])
