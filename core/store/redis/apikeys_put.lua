-- Keeps a record unless one as new, or a newer tombstone, is there.
-- KEYS[1] the key; ARGV[1] its revision in 19 digits, [2] its life in milliseconds, [3…] fields and values.
-- What is of another type, or has no such revision, is none of ours and makes way.
local has = redis.pcall('HGET', KEYS[1], 'revision')
if type(has) == 'string' and #has == 19 then
  if has > ARGV[1] or (has == ARGV[1] and redis.call('HEXISTS', KEYS[1], 'gone') == 0) then
    return 0
  end
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], unpack(ARGV, 3))
redis.call('PEXPIRE', KEYS[1], ARGV[2])
return 1
