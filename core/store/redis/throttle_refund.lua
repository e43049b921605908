-- Takes one attempt back that throttle.lua counted, and the delay after it.
-- KEYS[1]  as there
if redis.call('EXISTS', KEYS[1]) == 0 then
  return 0
end
if redis.call('HINCRBY', KEYS[1], 'n', -1) <= 0 then
  redis.call('DEL', KEYS[1])
else
  redis.call('HSET', KEYS[1], 'nxt', 0)
end
return 0
