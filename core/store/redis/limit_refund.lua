-- Gives back what limit_exact.lua took for a request that another slot of the cluster
-- denied.
--
-- KEYS[i]    counter i
-- ARGV[1]    when they were charged, by this server's clock in µs
-- ARGV[6i-4] what it took; then as in limit_exact.lua, but the last is what was used before
-- Returns how many counters were given something back.
-- What can't be told apart any more, or has come back by itself, stays charged: others
-- are denied for it, and none admitted. Complexity: O(1) for each counter; of a log
-- O(log n), and as many entries as were made since, 1000 at most.
local call, floor, max, text = redis.call, math.floor, math.max, string.format
local time = call('TIME')
local now = time[1] * 1000000 + time[2]
local charged = tonumber(ARGV[1])

-- What a bucket would not have gained since, because it would have been full without the
-- charge, is not given: no more than what it has gained beyond the debt that it had.
local function bucket(key, took, p)
  local v = call('HMGET', key, 'd', 't', 'g', 'o')
  local d, g, out = tonumber(v[1] or ''), tonumber(v[3] or ''), tonumber(v[4] or '0')
  if not d or g ~= p[2] or not out then
    return 0
  end
  local gained = max(math.ceil(now / p[1]) - floor(charged / p[1]), 0) * p[3]
  local parts = math.min(took - max(gained - p[4], 0), d - out)
  if parts <= 0 then
    return 0
  end
  call('HSET', key, 'd', d - parts)
  return 1
end

local function window(key, cost, p)
  local slot = floor(charged / p[3])
  local v = call('HMGET', key, slot, 'n', 'w', 'f')
  local has, n, first = tonumber(v[1] or ''), tonumber(v[2] or ''), tonumber(v[4] or '')
  if not has or has < cost or not n or n < cost or tonumber(v[3] or '') ~= p[3] or not first or first > tonumber(slot) then
    return 0
  end
  call('HINCRBY', key, slot, -cost)
  call('HINCRBY', key, 'n', -cost)
  return 1
end

-- Each entry carries the sum of all before it: those that came later are written anew.
local function log(key, cost)
  local at = text('%.0f', charged)
  local later = call('ZRANGEBYSCORE', key, at, '+inf', 'WITHSCORES', 'LIMIT', 0, 1001)
  if #later > 2000 then
    return 0
  end
  local found, add = false, {}
  for i = 1, #later, 2 do
    local sum, tokens = string.match(later[i], '^(%d+):(%d+)$')
    sum, tokens = tonumber(sum or ''), tonumber(tokens or '')
    if not sum then
      return 0
    elseif found then
      add[#add + 1] = later[i + 1]
      add[#add + 1] = text('%016.0f:%.0f', sum - cost, tokens)
    elseif tokens >= cost and later[i + 1] == at then
      found = i
      if tokens > cost then
        add = {at, text('%016.0f:%.0f', sum - cost, tokens - cost)}
      end
    end
  end
  if not found then
    return 0
  end
  for i = found, #later, 2 do
    call('ZREM', key, later[i])
  end
  for i = 1, #add, 2 do
    call('ZADD', key, add[i], add[i + 1])
  end
  return 1
end

local kinds = {b = bucket, w = window, l = log}
local type = {b = 'hash', w = 'hash', l = 'zset'}
local given = 0
for i = 1, (#ARGV - 1) / 6 do
  local at = 6 * i - 4
  if call('TYPE', KEYS[i]).ok == type[ARGV[at + 1]] then
    given = given + kinds[ARGV[at + 1]](KEYS[i], tonumber(ARGV[at]), {
      tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5]),
    })
  end
end
return given
