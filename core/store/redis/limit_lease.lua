-- Leases tokens of one counter to an instance, and charges those that wait there.
--
-- KEYS      the counter, and the epoch
-- ARGV[1]   the lifetime of a lease in µs
-- ARGV[2-6] the counter's algorithm and numbers, as in limit_exact.lua: b or w
-- ARGV[7]   the field of the lease, which was never used before
-- ARGV[8]   tokens to lease: a quarter of what is left at most,
-- ARGV[9]   or as many as this, if more
-- ARGV[10]  tokens to charge as far as they are there
-- ARGV[11]  how many reports follow: the field of a lease, how many of its tokens are not spent,
--           and 1 if it has ended, so that these are given back, else 0
-- then      how many refunds follow: tokens, and when they were charged, in µs
-- then      demands to the end: a cost and how often; the first that fit are charged
-- Returns the server's time in µs; of the lease its tokens and µs until it ends; tokens that
-- remain; µs until all are there again; µs until the least cost that did not fit might,
-- 0 if all did; and of each demand how often it was charged.
-- It fails, and charges nothing, on a key that holds something else: LIMITKEY and its name.
-- Nothing is done twice by a report that comes twice: what it takes from the lease is gone.
-- Complexity: O(1) and O(n) for n reports, refunds and demands; each time a lease has ended
-- unreported O(m log m) for m leases; a window that denies 64.
-- It follows limit_counter.lua.
local shortest = 1000 -- µs that a lease is worth its while

-- Those that have been charged may have been gained again since; what would not have been if
-- the bucket had been full without them must not be given twice.
function bucket.refund(c, tokens, charged)
  local gained = max(ceil(now / c.p1) - floor(charged / c.p1), 0) * c.p3
  local parts = min(tokens * c.token - gained, c.used - c.out)
  if parts > 0 then
    c.used, c.changed = c.used - parts, true
  end
end

function window.refund(c, tokens, charged)
  local slot = floor(charged / c.p3)
  local has = not c.slots and slot >= c.first and number(call('HGET', c.key, slot))
  if tokens > 0 and has and has >= tokens and c.used >= tokens then
    call('HINCRBY', c.key, slot, -tokens)
    c.used, c.changed = c.used - tokens, true
  end
end

function bucket.report(c, tokens, left)
  c.out = max(c.out - (tokens - left) * c.token, 0)
end

function window.report()
end

function bucket.back(c, left)
  local parts = min(left * c.token, c.out)
  c.out, c.used = c.out - parts, max(c.used - parts, 0)
end

function window.back(c, left, slot)
  window.refund(c, left, slot * c.p3)
end

local kinds = {b = bucket, w = window}
local c = {
  key = KEYS[1], kind = kinds[ARGV[2]], add = 0,
  p1 = tonumber(ARGV[3]), p2 = tonumber(ARGV[4]), p3 = tonumber(ARGV[5]), p4 = tonumber(ARGV[6]),
}
if not c.kind.read(c) then
  return redis.error_reply('LIMITKEY ' .. c.key .. ' holds what is no counter of this kind; delete it')
end
if c.kind == window and not c.other and not c.slots then
  c.ends = number(call('HGET', c.key, 'x'))
  if c.ends and c.ends > 0 and c.ends <= now then
    local _, next = ended(c.key)
    c.ends = next
  end
end
if c.ends == 0 then
  c.ends = nil
end

local i = 12
for _ = 1, tonumber(ARGV[11]) do
  local name, left = ARGV[i], tonumber(ARGV[i + 1])
  local lease = not c.other and not c.slots and call('HGET', c.key, name)
  local tokens, ends, slot = string.match(lease or '', '^(%d+):(%d+):(%d+)$')
  tokens = number(tokens)
  if tokens then
    left = min(left, tokens)
    c.kind.report(c, tokens, left)
    if ARGV[i + 2] == '1' then
      call('HDEL', c.key, name)
      c.kind.back(c, left, tonumber(slot))
    else
      call('HSET', c.key, name, text('%.0f:%s:%s', left, ends, slot))
    end
    c.changed = true
  end
  i = i + 3
end
local refunds = tonumber(ARGV[i])
for k = i + 1, i + 2 * refunds, 2 do
  local charged = tonumber(ARGV[k + 1])
  if charged >= opening() - life then -- else it was charged to what was lost since
    c.kind.refund(c, tonumber(ARGV[k]), charged)
  end
end
i = i + 1 + 2 * refunds

local function left()
  return floor(max(c.full - c.used - c.add, 0) / c.token)
end

local granted, short = {}, nil
for k = i, #ARGV, 2 do
  local cost, count = tonumber(ARGV[k]), tonumber(ARGV[k + 1])
  local n = min(count, floor(left() / cost))
  c.add = c.add + n * cost * c.token
  granted[#granted + 1] = n
  if n < count then
    short = min(short or cost, cost)
  end
end
c.add = c.add + min(tonumber(ARGV[10]), left()) * c.token
local untilEnd = life
if c.kind == window then
  untilEnd = min(life, (c.slot + 1) * c.p3 - now)
end
local leased = 0
if not short and untilEnd >= shortest then
  leased = min(tonumber(ARGV[8]), max(floor(left() / 4), min(left(), tonumber(ARGV[9]))))
end
c.add = c.add + leased * c.token

local charged = c.add > 0
if charged then
  c.kind.charge(c)
end
local wait = 0
if short then
  wait = max(c.kind.wait(c, short * c.token - max(c.full - c.used, 0)), 1)
end
if leased > 0 then
  c.ends = min(c.ends or now + untilEnd, now + untilEnd)
  c.leased, c.changed = true, true
  if c.kind == bucket then
    c.out = c.out + leased * c.token
  end
end
if charged or c.changed then
  c.kind.write(c, charged)
end
if leased > 0 then
  call('HSET', c.key, ARGV[7], text('%.0f:%.0f:%.0f', leased, now + untilEnd, c.slot or 0))
  if c.kind == window then
    call('HSET', c.key, 'x', c.ends)
  end
end
if c.kind == bucket and c.out > 0 then -- it gains again when the last has ended
  call('PEXPIRE', c.key, min(ceil((bucket.wait(c, c.used) + life) / 1000) + 1, 1e12))
end

c.add = 0
local most = 9007199254740991
local reply = {now, leased, untilEnd, left(), c.used > 0 and min(c.kind.reset(c), most) or 0, min(wait, most)}
for _, n in ipairs(granted) do
  reply[#reply + 1] = n
end
return reply
