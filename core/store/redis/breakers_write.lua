-- Writes what an instance says of a breaker, if nobody else has said something since.
-- KEYS[1]  a hash: state, failures, lastFailure (unix ms, 0 unknown), epoch, until (unix ms), by (any
--          text); it expires
-- ARGV     the epoch it follows, state, failures, lastFailure, for (ms from now), by, how long to keep (ms)
-- Returns 1 if it was written, 2 if it took the place of something that is no breaker, else 0; and
-- what stands there: state, failures, lastFailure, epoch, for (ms from now), by.
-- The time is the server's: gateways need not agree on it.
local states = {OPEN = true, CLOSED = true, HALF_OPEN = true}
-- The last epoch that has a successor which breakers.go reads.
local most = 999999999999997
-- The numbers that breakers.go reads, and no others.
local function whole(text)
  return text and #text <= 15 and (text == '0' or string.match(text, '^[1-9]%d*$')) and tonumber(text)
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local old = redis.pcall('HMGET', KEYS[1], 'state', 'failures', 'lastFailure', 'epoch', 'until', 'by')
local written, last = 1, 0
if old.err or redis.call('EXISTS', KEYS[1]) == 1 then
  local failures, failed = not old.err and whole(old[2]), not old.err and whole(old[3])
  local stands, ends = not old.err and whole(old[4]), not old.err and whole(old[5])
  if not (failures and failed and stands and stands > 0 and stands <= most and ends and states[old[1]]) then
    written = 2
    redis.call('DEL', KEYS[1])
  elseif stands ~= tonumber(ARGV[1]) then
    return {0, old[1], failures, failed, stands, math.max(ends - now, 0), string.sub(old[6] or '', 1, 40)}
  else
    last = stands
  end
end

-- By the time, so that no epoch comes again when a record has expired, or the server was emptied.
local epoch = math.max(last + 1, now)
if epoch > most then
  epoch = now
end
redis.call('HSET', KEYS[1], 'state', ARGV[2], 'failures', ARGV[3], 'lastFailure', ARGV[4], 'epoch', string.format('%.0f', epoch),
  'until', string.format('%.0f', now + tonumber(ARGV[5])), 'by', ARGV[6])
redis.call('PEXPIRE', KEYS[1], ARGV[7])
return {written, ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), epoch, tonumber(ARGV[5]), ARGV[6]}
