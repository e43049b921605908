-- How counters lie in Redis: what limit_exact.lua and limit_lease.lua begin with.
--
-- KEYS[#KEYS] the epoch, if ARGV[1] > 0
-- ARGV[1]     the lifetime of a lease in µs; 0 where there are none
--
-- A token bucket is a hash. d: the debt in parts, 0 when it is full; t: the tick at which
-- that was right, of a bucket that was full until then the next one; g: parts of a token
-- in which it was counted; o: parts that are out on lease, below which d never gains; x: µs
-- when the first lease ends. A window is a hash: a field of tokens for each slot that has
-- some, n: their sum, f and h: the first and the last slot, w: µs of a slot, and x. A log is
-- a sorted set by time: "sum of all costs up to this one:cost". A lease is a field "l:" and
-- its number: "tokens:µs when it ends:slot of a window". When it ends its tokens stay
-- charged, and are not out any more.
--
-- The epoch is since when there are data, in µs. A bucket that is not there begins one
-- lifetime of a lease after it, and empty: what was out on lease before the data were lost
-- has ended by then.
-- All numbers are whole and below 2^53, and so exact, and Redis writes them whole. When
-- the clock of the server went back, what was charged counts from now on: nothing gains by
-- the jump, nor waits for the time to come again, but for the lifetime of a lease at most.
local call, pcall, floor, ceil = redis.call, redis.pcall, math.floor, math.ceil
local max, min, text = math.max, math.min, string.format

local time = call('TIME')
local now = time[1] * 1000000 + time[2]
local life = tonumber(ARGV[1])
local opens -- when what is not there begins; nil: not asked yet

-- number is a whole number that this script may have written, or nil.
local function number(s)
  local n = s and tonumber(s)
  return n and n >= 0 and n < 9007199254740992 and n == floor(n) and n
end

local function opening()
  if not opens then
    local epoch = number(call('GET', KEYS[#KEYS]))
    if not epoch or epoch > now then
      epoch = now
      call('SET', KEYS[#KEYS], epoch)
    end
    opens = epoch + life
  end
  return opens
end

-- ended removes the leases that have ended, in that order, and returns them, and when
-- the next one will.
local function ended(key)
  local gone, names, next = {}, {}, nil
  local all = call('HGETALL', key)
  for i = 1, #all, 2 do
    if string.sub(all[i], 1, 2) == 'l:' then
      local tokens, ends = string.match(all[i + 1], '^(%d+):(%d+):')
      tokens, ends = number(tokens) or 0, number(ends) or 0
      if ends <= now then
        gone[#gone + 1] = {tokens = tokens, ends = ends}
        names[#names + 1] = all[i]
      else
        next = min(next or ends, ends)
      end
    end
  end
  table.sort(gone, function(a, b) return a.ends < b.ends end)
  for i = 1, #names, 1000 do
    call('HDEL', key, unpack(names, i, min(i + 999, #names)))
  end
  return gone, next
end

local long = 400 * 86400 * 1000000 -- no bucket is kept so long
local bucket, window, log = {}, {}, {}

-- least is the debt below which nothing is gained.
local function least(c)
  return c.out
end

-- gain brings the debt from c.at to a later tick.
local function gain(c, tick)
  local gained = tick - c.at
  if gained > 0 then
    c.at = tick
    local over = c.used - least(c)
    if over > 0 and gained >= ceil(over / c.p3) then
      c.used = least(c)
    elseif over > 0 then
      c.used = c.used - gained * c.p3
    end
  end
end

function bucket.read(c)
  c.token, c.full = c.p2, c.p4 * c.p2
  c.at = floor(now / c.p1)
  local v = pcall('HMGET', c.key, 'd', 't', 'g', 'o', 'x')
  if v.err then
    return false
  elseif not v[1] and not v[2] and not v[3] and not v[4] then
    c.used, c.out = 0, 0
    if life > 0 and opening() > now then
      c.used, c.at, c.changed = c.full, ceil(opening() / c.p1), true
    end
    return true
  end
  local d, t, g = number(v[1]), number(v[2]), number(v[3])
  c.out, c.ends, c.leased = v[4] and number(v[4]) or (not v[4] and 0), number(v[5]), v[4]
  if not d or not t or not g or g < 1 or not c.out then
    return false
  end
  if g ~= c.token then -- a token of then is a token of now; what is no whole part is one
    local function convert(parts)
      local tokens = floor(parts / g)
      local rest = parts - tokens * g
      return min(tokens, floor(4503599627370496 / c.token)) * c.token
        + (rest > 0 and min(ceil(rest / g * c.token) + 1, c.token) or 0)
    end
    d, c.out = convert(d), convert(c.out)
    c.changed = true
  end
  c.used = max(min(d, c.full + c.out), least(c)) -- of a smaller burst: what is not out
  local tick, passed = c.at, c.at - t
  if passed * c.p1 > long or (passed < -1 and -passed * c.p1 > life + c.p1) or (g ~= c.token and c.p1 > 1) then
    c.changed = true -- the clock went back, or the ticks were others
  else
    c.at = t
  end
  if c.ends and c.ends <= now then
    local gone, next = ended(c.key)
    for _, lease in ipairs(gone) do
      gain(c, min(ceil(lease.ends / c.p1), tick + 1))
      c.out = max(c.out - lease.tokens * c.token, 0)
    end
    c.out, c.ends, c.changed = next and c.out or 0, next, true
  end
  gain(c, tick)
  return true
end

function bucket.wait(c, short)
  return (c.at + ceil(short / c.p3)) * c.p1 - now
end

function bucket.charge(c)
  if c.used <= c.out then -- it begins to gain with a whole tick
    c.at = max(c.at, ceil(now / c.p1))
  end
  c.used = c.used + c.add
end

function bucket.reset(c)
  return bucket.wait(c, c.used)
end

function bucket.write(c)
  call('HSET', c.key, 'd', c.used, 't', c.at, 'g', c.token)
  local ms = ceil(bucket.wait(c, c.used) / 1000) + 1
  if c.leased and c.changed then
    call('HSET', c.key, 'o', c.out, 'x', c.ends or 0)
  end
  if c.out > 0 then -- nobody but who gave the lease may let it be forgotten
    ms = max(ms, call('PTTL', c.key))
  end
  call('PEXPIRE', c.key, min(ms, 1e12))
end

-- slots returns what is in each of a window's slots from first to last.
local function slots(key, first, last)
  local names = {}
  for s = first, last do
    names[#names + 1] = s
  end
  if #names == 0 then
    return names
  end
  local v = call('HMGET', key, unpack(names))
  for i = 1, #v do
    v[i] = v[i] and (number(v[i]) or 0) or 0
  end
  return v
end

function window.read(c)
  c.token, c.full = 1, c.p1
  c.slot = floor(now / c.p3)
  c.first = floor((now - c.p2) / c.p3) -- the first that the span touches
  local v = pcall('HMGET', c.key, 'n', 'f', 'h', 'w')
  if v.err then
    if c.other or call('TYPE', c.key).ok ~= 'zset' then
      return false
    end
    c.other = true
    if not log.read(c) then -- the policy was a sliding log
      return false
    end
    c.token, c.full = 1, c.p1
    c.slots, c.last, c.changed = {}, floor(min(c.latest, now) / c.p3), true
    c.slots[c.last] = c.used
    return true
  elseif not v[1] and not v[2] and not v[3] and not v[4] then
    c.used, c.last, c.oldest = 0, c.slot, c.first
    return true
  end
  local n, f, h, w = number(v[1]), number(v[2]), number(v[3]), number(v[4])
  if not n or not f or not h or not w or w < 1 or h < f or h - f > 80 then
    return false
  end
  if w == c.p3 and h <= c.slot then
    c.used, c.last, c.oldest, c.newest = n, h, f, h
    if f < c.first then
      for _, tokens in ipairs(slots(c.key, f, min(c.first - 1, h))) do
        c.used = c.used - tokens
      end
    end
    return c.used >= 0
  end
  c.slots, c.used, c.last, c.changed = {}, 0, 0, true
  for i, tokens in ipairs(slots(c.key, f, h)) do -- its last moment is now in another slot
    local s = floor(((f + i) * w - 1) / c.p3)
    if h * w > now or s > c.slot then
      s = c.slot
    end
    if tokens > 0 and s >= c.first then
      c.slots[s] = (c.slots[s] or 0) + tokens
      c.used, c.last = c.used + tokens, max(c.last, s)
    end
  end
  return true
end

function window.wait(c, short)
  for s = c.first, c.slot do
    if c.slots then
      short = short - (c.slots[s] or 0)
    else
      c.seen = c.seen or slots(c.key, c.first, c.slot)
      short = short - c.seen[s - c.first + 1]
    end
    if short <= 0 then
      return (s + 1) * c.p3 + c.p2 - now
    end
  end
  return (c.slot + 1) * c.p3 + c.p2 - now -- by what this request itself adds
end

function window.charge(c)
  c.used, c.last = c.used + c.add, c.slot
end

function window.reset(c)
  return (c.last + 1) * c.p3 + c.p2 - now
end

function window.write(c, charged)
  if c.slots then
    call('DEL', c.key)
    for s, tokens in pairs(c.slots) do
      call('HSET', c.key, s, tokens)
    end
    c.oldest = c.first
  elseif c.oldest < c.first then
    for s = c.oldest, min(c.first - 1, c.newest) do
      call('HDEL', c.key, s)
    end
    c.oldest = c.first
  end
  if charged then
    call('HINCRBY', c.key, c.slot, c.add)
  end
  call('HSET', c.key, 'n', c.used, 'f', min(c.oldest, c.last),
    'h', c.last, 'w', c.p3)
  call('PEXPIRE', c.key, ceil((c.p2 + c.p3) / 1000) + 1)
end

-- entry is the sum and the cost of what a log remembers, or nil.
local function entry(member)
  if not member then
    return nil
  end
  local sum, cost = string.match(member, '^(%d+):(%d+)$')
  return number(sum), number(cost)
end

function log.read(c)
  c.token, c.full, c.sum, c.used, c.latest, c.last = 1, c.p1, 0, 0, 0, 0
  local last = pcall('ZRANGE', c.key, -1, -1, 'WITHSCORES')
  if last.err then
    if c.other or call('TYPE', c.key).ok ~= 'hash' then
      return false
    end
    c.other = true
    local tokens, span, slot = c.p1, c.p2, c.p3 -- the policy was a sliding window
    c.p3 = ceil(span / 63)
    local ok = window.read(c)
    c.p1, c.p2, c.p3, c.token, c.full = tokens, span, slot, 1, tokens
    c.latest, c.last, c.sum, c.changed = now, now, c.used, true
    return ok
  elseif #last == 0 then
    return true
  end
  local sum = entry(last[1])
  c.latest = number(last[2])
  c.last = c.latest
  if not sum or not c.latest then
    return false
  end
  c.sum, c.after = sum, now - c.p2
  local first = call('ZRANGEBYSCORE', c.key, text('(%.0f', c.after), '+inf', 'LIMIT', 0, 1)
  if #first == 0 then
    return true
  end
  local before, cost = entry(first[1])
  if not before then
    return false
  end
  c.used = sum - before + cost
  if c.latest > now or sum > 4503599627370496 then
    c.latest, c.last, c.sum, c.changed = now, now, c.used, true
  end
  return c.used >= 0
end

function log.wait(c, short)
  if c.changed then
    return c.latest + c.p2 - now
  end
  local low = call('ZCOUNT', c.key, '-inf', c.after)
  local high = call('ZCARD', c.key) - 1
  while low < high do -- the first entry that, when it goes, has freed enough
    local middle = floor((low + high) / 2)
    if entry(call('ZRANGE', c.key, middle, middle)[1]) >= c.sum - c.used + short then
      high = middle
    else
      low = middle + 1
    end
  end
  local at = call('ZRANGE', c.key, low, low, 'WITHSCORES')
  return (at[2] and tonumber(at[2]) or now) + c.p2 - now
end

function log.charge(c)
  c.used, c.last = c.used + c.add, now
end

function log.reset(c)
  return c.last + c.p2 - now
end

local function remember(c, at, sum, cost)
  call('ZADD', c.key, at, text('%016.0f:%.0f', sum, cost))
end

function log.write(c, charged)
  if c.changed then
    call('DEL', c.key)
    if c.sum > 0 then
      remember(c, c.latest, c.sum, c.sum)
    end
  elseif c.after then
    local gone = call('ZCOUNT', c.key, '-inf', c.after)
    if gone > 0 then
      call('ZREMRANGEBYRANK', c.key, 0, min(gone, 1000) - 1)
    end
  end
  if charged then
    remember(c, now, c.sum + c.add, c.add)
  end
  call('PEXPIRE', c.key, ceil(c.p2 / 1000) + 1)
end
