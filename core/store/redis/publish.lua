-- Writes one revocation, merged with what there is of its key into the one that refuses
-- more: KEYS[1] the key, ARGV[1] NotBefore and ARGV[2] Expires in unix seconds. It writes
-- nothing if that changes nothing, so that nobody is told of it. What is there and is no
-- revocation is replaced.
local function seconds(text)
  local n = #text <= 16 and tonumber(text)
  return n and string.format('%.0f', n) == text and n
end

local notBefore, expires = ARGV[1], ARGV[2]
local old = redis.pcall('GET', KEYS[1])
if type(old) == 'string' then
  local oldNotBefore, oldExpires = string.match(old, '^(%d+) (%d+)$')
  if oldNotBefore and seconds(oldNotBefore) and seconds(oldExpires) then
    if oldNotBefore == '0' or notBefore == '0' then
      notBefore = '0'
    elseif seconds(oldNotBefore) > seconds(notBefore) then
      notBefore = oldNotBefore
    end
    if seconds(oldExpires) > seconds(expires) then
      expires = oldExpires
    end
  end
end

local value = notBefore .. ' ' .. expires
if value ~= old then
  redis.call('SET', KEYS[1], value, 'PXAT', expires .. '000')
end
return value
