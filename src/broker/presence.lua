-- Presence in Redis: who holds which channel, kept for all gateways of one prefix. A script, run by its digest (EVALSHA), so
-- that it needs no version of Redis later than 5.
--
-- Keys, behind the prefix: `:present:{channel}` a sorted set of client ids by the millisecond at which each ends unless it is
-- renewed; `:member:{channel}` a hash of them, each `{user}\n{entry}`. Both end by themselves when nobody renews anything.
--
-- Invariant: whoever is added to or taken from a channel that tells so is told of on `:presence`, once, in the same step. Who was
-- not renewed in time is taken out, and told of, by the next change of that channel; until then nobody is shown who has ended.
--
-- Arguments: prefix, what to do, and
--   change: ttl in milliseconds, and of each change: kind (join, renew, leave), told (1 or 0), channel, client, user, entry
--           → places, from 0, of renewals for which there was nothing to renew
--   read:   channel, most members → entries, or how many there are where those are more
--   count:  channel → clients, users
local prefix, what = ARGV[1], ARGV[2]

-- Ended members that one change takes out: the next one takes more.
local ENDED_A_CHANGE = 100
-- Fields in one HMGET.
local FIELDS = 1000

local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)

local function keys_of(channel)
  return prefix .. ':present:' .. channel, prefix .. ':member:' .. channel
end

local function tell(kind, channel, entry)
  redis.call('PUBLISH', prefix .. ':presence', kind .. ' ' .. #channel .. '\n' .. channel .. entry)
end

local function remove(channel, told, client)
  local present, member = keys_of(channel)
  if redis.call('ZREM', present, client) == 0 then return end
  local value = redis.call('HGET', member, client)
  redis.call('HDEL', member, client)
  if told and value then tell('leave', channel, string.sub(value, string.find(value, '\n', 1, true) + 1)) end
end

local function change()
  local ttl = tonumber(ARGV[3])
  local ends, lasts = string.format('%.0f', now + ttl), string.format('%.0f', ttl + 1000)
  local unknown, looked = {}, {}
  for i = 4, #ARGV, 6 do
    local kind, told, channel, client = ARGV[i], ARGV[i + 1] == '1', ARGV[i + 2], ARGV[i + 3]
    local present, member = keys_of(channel)
    if not looked[channel] then
      looked[channel] = true
      local ended = redis.call('ZRANGEBYSCORE', present, '-inf', now, 'LIMIT', 0, ENDED_A_CHANGE)
      for _, each in ipairs(ended) do remove(channel, told, each) end
    end
    if kind == 'leave' then
      remove(channel, told, client)
    -- Where Redis evicts keys it may have lost one of the two.
    elseif kind == 'renew' and not (redis.call('ZSCORE', present, client) and redis.call('HEXISTS', member, client) == 1) then
      table.insert(unknown, (i - 4) / 6)
    else
      local is_new = redis.call('ZADD', present, ends, client) == 1
      if kind == 'join' then redis.call('HSETNX', member, client, ARGV[i + 4] .. '\n' .. ARGV[i + 5]) end
      if is_new and told then tell('join', channel, ARGV[i + 5]) end
      redis.call('PEXPIRE', present, lasts)
      redis.call('PEXPIRE', member, lasts)
    end
  end
  return unknown
end

-- Calls `visit` with user and entry of each member.
local function each_member(channel, visit)
  local present, member = keys_of(channel)
  local clients = redis.call('ZRANGEBYSCORE', present, '(' .. string.format('%.0f', now), '+inf')
  for from = 1, #clients, FIELDS do
    local values = redis.call('HMGET', member, unpack(clients, from, math.min(from + FIELDS - 1, #clients)))
    for _, value in ipairs(values) do
      if value then
        local cut = string.find(value, '\n', 1, true)
        visit(string.sub(value, 1, cut - 1), string.sub(value, cut + 1))
      end
    end
  end
end

if what == 'change' then return change() end

if what == 'read' then
  local count = redis.call('ZCOUNT', (keys_of(ARGV[3])), '(' .. string.format('%.0f', now), '+inf')
  if count > tonumber(ARGV[4]) then return count end
  local entries = {}
  each_member(ARGV[3], function(_, entry) table.insert(entries, entry) end)
  return entries
end

local clients, users, seen = 0, 0, {}
each_member(ARGV[3], function(user)
  clients = clients + 1
  if not seen[user] then
    seen[user] = true
    users = users + 1
  end
end)
return { clients, users }
