-- Charges all counters of one request, or none.
--
-- KEYS[i]    counter i. A last one, if ARGV[1] > 0, is the epoch.
-- ARGV[1]    the lifetime of a lease in µs; 0 where there are none
-- ARGV[6i-4] its cost in tokens, negative for what is counted and never denied;
--            [6i-3] its algorithm, and four numbers of it:
--            b, a token bucket:   µs of a tick, parts of a token, parts that a tick gives, tokens of a burst
--            w, a sliding window: tokens, µs of the span, µs of a slot, 0
--            l, a sliding log:    tokens, µs of the span, 0, 0
-- Returns the number of the first counter that denies, 0 if none does; the server's time
-- in µs; then of each counter: tokens that remain, µs until all are there again, µs to
-- wait: 0 if it admits, -1 if it never will; what it took, and what was used before, in
-- parts of a bucket or tokens of the others.
-- It fails, and charges nothing, on a key that holds something else: LIMITKEY and its name.
-- Complexity: O(1) for each counter, O(log n) for a log of n entries; a window or a log
-- that denies 64 and O(log² n). It removes at most 1000 entries of a log at a time.
-- It follows limit_counter.lua.
local kinds = {b = bucket, w = window, l = log}
local counters, byKey, denied = {}, {}, 0
for i = 1, (#ARGV - 1) / 6 do
  local at = 6 * i - 4
  local key, cost = KEYS[i], tonumber(ARGV[at])
  local c = byKey[key]
  if not c then
    c = {
      key = key, kind = kinds[ARGV[at + 1]], add = 0,
      p1 = tonumber(ARGV[at + 2]), p2 = tonumber(ARGV[at + 3]), p3 = tonumber(ARGV[at + 4]), p4 = tonumber(ARGV[at + 5]),
    }
    if not c.kind.read(c) then
      return redis.error_reply('LIMITKEY ' .. key .. ' holds what is no counter of this kind; delete it')
    end
    byKey[key] = c
    c.before = c.used
  end
  local level = {c = c, wait = 0, took = c.add}
  counters[i] = level
  local free = c.full - c.used - c.add
  if cost < 0 then
    c.add = c.add + max(min(-cost * c.token, free), 0)
  elseif cost * c.token > c.full then
    level.wait = -1
  elseif cost * c.token > free then
    level.wait = c.kind.wait(c, cost * c.token - free)
  else
    c.add = c.add + cost * c.token
  end
  level.took = c.add - level.took
  if level.wait ~= 0 and denied == 0 then
    denied = i
  end
end

for _, c in pairs(byKey) do
  local charged = denied == 0 and c.add > 0
  if charged then
    c.kind.charge(c)
  end
  if charged or c.changed then
    c.kind.write(c, charged)
  end
end
local most = 9007199254740991
local reply = {denied, now}
for i, level in ipairs(counters) do
  local c = level.c
  reply[5 * i - 2] = floor(max(c.full - c.used, 0) / c.token)
  reply[5 * i - 1] = c.used > 0 and min(c.kind.reset(c), most) or 0
  reply[5 * i] = min(level.wait, most)
  reply[5 * i + 1] = denied == 0 and level.took or 0
  reply[5 * i + 2] = c.before
end
return reply
