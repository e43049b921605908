-- Deletes what was found to be none of ours, unless something else has come since.
-- KEYS[1] the key; ARGV[1] the HMAC that was found, '' if there was none.
local has = redis.pcall('HGET', KEYS[1], 'hmac')
if type(has) ~= 'string' or has == ARGV[1] then
  return redis.call('DEL', KEYS[1])
end
return 0
