-- Leaves a tombstone unless something of its revision, or a newer one, is there.
-- KEYS[1] the key; ARGV[1] the revision in 19 digits, [2] the tombstone's life in milliseconds, [3…] fields and values.
local has = redis.pcall('HGET', KEYS[1], 'revision')
if type(has) == 'string' and #has == 19 and has >= ARGV[1] then
  return 0
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], unpack(ARGV, 3))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
