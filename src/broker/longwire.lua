#!lua name=longwire
-- The history in Redis: a library of functions (Redis 7), or one script where there are none, that the gateway loads by itself.
--
--   FCALL longwire_publish 0 push: chat:room1 hello [event greeting] [id 7] [key abc]
--   EVALSHA {sha} 0 longwire_publish push: chat:room1 hello …       with the sha that HGET push::history script tells
--
-- is how any backend publishes with history: append, trim, expiry and PUBLISH in one atomic step. Before `longwire_publish`
-- answers, nobody can have seen the publication without it being in the history, or the other way round. Where the channel
-- has no history it is published live, as PUBLISH would.
--
-- Keys, all of them behind the prefix: `:history` a hash with the counter and `state` as JSON; `:top:{generation}:{channel}`
-- the offset of the channel's last publication; `:log:{generation}:{channel}` its publications, a stream whose ids are
-- `{offset}-0`, with `p` (offset of the one before), `d` (payload), `e` (event), `i` (id); `:key:…` idempotency keys.
--
-- Invariants: an offset is given out once in an epoch, and every one that is given out is published on `:stored`, in order, so
-- that whoever listens sees a hole when it has missed something. `states` lives as long as this server process has this
-- library; whoever finds it empty may have before it a counter that lost its last numbers (restored from a snapshot, a
-- replica that was promoted), and so begins a new epoch, which notes up to where the former one still holds. A script keeps
-- nothing from call to call: its state is that of the keys, as long as they name the run of the server that they are asked in.

local VERSION = '{version}'
-- Where no gateway has said how long the last offset of a silent channel is to be known.
local DEFAULT_TOP_SECONDS = 86400
local IDEMPOTENCY_SECONDS = 300
local PAST_EPOCHS = 16
local MARKS = 8
-- The clock is read at each so many offsets: a busy history notes the time often enough, and a slow one has few to note.
local CLOCK_EVERY = 16
-- What an entry counts beyond its fields: Redis is busy with it for about as long as with so many bytes.
local ENTRY_BYTES = 1000
-- Read from a log at a time: what is read and does not fit any more is read in vain.
local ENTRIES_AT_A_TIME = 16

-- Whether `states` outlives a call.
local LASTING = redis.register_function ~= nil

local states = {}

local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function evicted_keys()
  return string.match(redis.call('INFO', 'stats'), 'evicted_keys:(%d+)') or '0'
end

local function run_of_server()
  return string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
end

local function save(prefix, state)
  local kept = { generation = state.generation, epoch = state.epoch, past = state.past, marks = state.marks,
    forgotten = state.forgotten, run = state.run, evicted = state.evicted }
  redis.call('HSET', prefix .. ':history', 'state', cjson.encode(kept))
end

-- From the gateway's JSON, with the numbers as the texts that commands take. `top` is how many seconds the last offset of a silent
-- channel is known; beyond, its clients may be told of a gap that is none.
local function read_options(json)
  local options = cjson.decode(json)
  options.top = options.top or DEFAULT_TOP_SECONDS
  local function add(each)
    each.sizeText = tostring(each.size)
    each.ttlText = tostring(each.ttl)
    each.topText = tostring(math.max(options.top, each.ttl + 60))
  end
  add(options.default)
  for _, each in pairs(options.named) do add(each) end
  return options
end

-- The state of a prefix, or nil where nothing says that it is still true.
local function find(prefix)
  local state = states[prefix]
  if state or LASTING then return state end
  local key = prefix .. ':history'
  local saved, options = unpack(redis.call('HMGET', key, 'state', 'options'))
  state = saved and cjson.decode(saved)
  if not state or state.run ~= run_of_server() then return nil end
  state.field = 'at:' .. state.epoch
  state.offset = tonumber(redis.call('HGET', key, state.field) or '-1')
  if options then
    state.options = read_options(options)
    state.written = options
  end
  states[prefix] = state
  return state
end

-- The state of a prefix, in a new epoch. `stale` is the counter's field that was found to be wrong, or nil.
local function open(prefix, stale)
  local key = prefix .. ':history'
  if stale then redis.call('HDEL', key, stale) end
  local saved = redis.call('HGET', key, 'state')
  local name = string.sub(redis.sha1hex(table.concat(redis.call('TIME'), '.') .. redis.call('INFO', 'server')), 1, 10)
  local state
  if saved then
    state = cjson.decode(saved)
    local field = 'at:' .. state.epoch
    state.offset = tonumber(redis.call('HGET', key, field) or '0')
    redis.call('HDEL', key, field)
    table.insert(state.past, 1, { epoch = state.epoch, upTo = state.offset })
    for _, past in ipairs(state.past) do past.upTo = math.min(past.upTo, state.offset) end
    while #state.past > PAST_EPOCHS do table.remove(state.past) end
  else
    state = { generation = name, offset = 0, past = {}, forgotten = 0, marks = { { time = now_ms(), offset = 0 } } }
  end
  state.epoch = name
  state.field = 'at:' .. name
  state.evicted = evicted_keys()
  state.run = not LASTING and run_of_server() or nil
  -- Keys may have been flushed while this process knew the options: it knows them still.
  local options = redis.call('HGET', key, 'options') or (states[prefix] and states[prefix].written)
  if options then
    redis.call('HSET', key, 'options', options)
    state.options = read_options(options)
    state.written = options
  end
  redis.call('HSET', key, state.field, state.offset)
  save(prefix, state)
  states[prefix] = state
  return state
end

-- The state, after a look at whether it is still that of the keys: they may have been flushed or replaced beneath us.
local function current(prefix)
  local state = find(prefix)
  if not state then return open(prefix) end
  local offset = redis.call('HGET', prefix .. ':history', state.field)
  if offset and tonumber(offset) == state.offset then return state end
  return open(prefix)
end

local function top_seconds(state)
  return state.options and state.options.top or DEFAULT_TOP_SECONDS
end

-- The highest offset that a channel may have had of which nothing is known (any more): what was published at least
-- `top` seconds ago, or before keys were evicted. `last` is the last offset before now.
local function forgotten(prefix, state, last)
  local evicted = evicted_keys()
  if evicted ~= state.evicted then
    state.evicted = evicted
    state.forgotten = last
    save(prefix, state)
  end
  local horizon = now_ms() - top_seconds(state) * 1000
  for _, mark in ipairs(state.marks) do
    if mark.time >= horizon then return math.max(state.forgotten, mark.offset) end
  end
  return last
end

-- Notes when the counter stood where, MARKS times in `top` seconds.
local function mark(prefix, state)
  local now = now_ms()
  local last = state.marks[#state.marks]
  if last and now - last.time < top_seconds(state) * 1000 / MARKS then return end
  table.insert(state.marks, { time = now, offset = state.offset })
  while #state.marks > MARKS + 2 do table.remove(state.marks, 1) end
  save(prefix, state)
end

local function options_of(state, channel)
  local namespace = string.match(channel, '^([^:]*):')
  return namespace and state.options.named and state.options.named[namespace] or state.options.default
end

local function is_no_field(text)
  return #text > 255 or string.find(text, '[%z\r\n]')
end

local function fault_of(channel, payload, event, id)
  if not channel or not payload then return 'give a prefix, a channel and a payload' end
  if channel == '' or #channel > 255 then return 'a channel name has 1 to 255 bytes' end
  if string.sub(channel, 1, 1) == ':' then return "channel names that begin with ':' are the gateway's own" end
  if string.find(channel, '%c') then return 'a channel name must not hold control characters' end
  if event == 'longwire' then return "event must not be longwire, which is the gateway's own" end
  if event and is_no_field(event) or id and is_no_field(id) then
    return 'event and id have at most 255 bytes, no CR, LF or NUL'
  end
  return nil
end

local function publish_live(prefix, channel, payload, event, id)
  if event == nil and id == nil then
    redis.call('PUBLISH', prefix .. channel, payload)
  else
    local head = cjson.encode({ channel = channel, event = event, id = id })
    redis.call('PUBLISH', prefix .. ':publication', head .. '\n' .. payload)
  end
end

-- Gives out an offset. Returns the state, which may be a new one, the offset before it, and the offset.
local function next_offset(prefix, state)
  local offset = redis.call('HINCRBY', prefix .. ':history', state.field, 1)
  if offset ~= state.offset + 1 then
    state = open(prefix, state.field)
    offset = redis.call('HINCRBY', prefix .. ':history', state.field, 1)
  end
  local last = state.offset
  state.offset = offset
  return state, last, offset
end

-- Sets a key for so many seconds, and returns what it was. SET with GET is one call less, and there since Redis 6.2.
local function swap_top(key, text, seconds)
  if LASTING then return redis.call('SET', key, text, 'EX', seconds, 'GET') end
  local previous = redis.call('GETSET', key, text)
  redis.call('EXPIRE', key, seconds)
  return previous
end

-- Publishes one: its place, or a text that says why not, and then nothing was done.
local function publish_one(prefix, channel, payload, event, id, key)
  local fault = fault_of(channel, payload, event, id)
  if fault then return fault end

  local state = find(prefix) or open(prefix)
  if not state.options then return 'no gateway has said which namespaces there are' end
  local options = options_of(state, channel)
  if options and options.limit > 0 and #payload > options.limit then
    return 'the payload has ' .. #payload .. ' bytes; ' .. options.limit .. ' are allowed'
  end
  local idempotency = key and (prefix .. ':key:' .. #channel .. ':' .. channel .. ':' .. key)
  if idempotency then
    local done = redis.call('GET', idempotency)
    if done then return cjson.decode(done) end
  end
  if not options or options.size == 0 then
    publish_live(prefix, channel, payload, event, id)
    if idempotency then redis.call('SET', idempotency, '["",0]', 'EX', IDEMPOTENCY_SECONDS) end
    return { '', 0 }
  end

  local state, last, offset = next_offset(prefix, state)
  -- Texts, since Redis would write a number out anew for each command.
  local text = string.format('%.0f', offset)
  local name = state.generation .. ':' .. channel
  local previous = swap_top(prefix .. ':top:' .. name, text, options.topText)
  if not previous then previous = string.format('%.0f', forgotten(prefix, state, last)) end
  local log = prefix .. ':log:' .. name
  if not event and not id then
    redis.call('XADD', log, 'MAXLEN', options.sizeText, text .. '-0', 'p', previous, 'd', payload)
  else
    local entry = { 'p', previous, 'd', payload }
    if event then table.insert(entry, 'e') table.insert(entry, event) end
    if id then table.insert(entry, 'i') table.insert(entry, id) end
    redis.call('XADD', log, 'MAXLEN', options.sizeText, text .. '-0', unpack(entry))
  end
  redis.call('EXPIRE', log, options.ttlText)
  if offset % CLOCK_EVERY == 0 then mark(prefix, state) end
  redis.call('PUBLISH', prefix .. ':stored', state.epoch .. ' ' .. text .. ' ' .. previous .. ' ' .. #channel .. ' ' ..
    (event and #event or -1) .. ' ' .. (id and #id or -1) .. '\n' .. channel .. (event or '') .. (id or '') .. payload)
  if idempotency then
    redis.call('SET', idempotency, cjson.encode({ state.epoch, offset }), 'EX', IDEMPOTENCY_SECONDS)
  end
  return { state.epoch, offset }
end

local function publish(_, args)
  local event, id, key
  for i = 4, #args, 2 do
    if args[i] == 'event' then event = args[i + 1]
    elseif args[i] == 'id' then id = args[i + 1]
    elseif args[i] == 'key' then key = args[i + 1]
    else return redis.error_reply('ERR longwire: after the payload come pairs of event, id and key') end
  end
  local outcome = publish_one(args[1], args[2], args[3], event, id, key)
  return type(outcome) == 'table' and outcome or redis.error_reply('ERR longwire: ' .. outcome)
end

-- prefix, and of each publication: channel, payload, a text of which of event, id and key it has ('eik'), and those. What a
-- gateway sends for a turn: a call of a function costs as much as all that it does for one publication.
local function publish_many(_, args)
  local outcomes = {}
  local at = 2
  while at <= #args do
    local channel, payload, has = args[at], args[at + 1], args[at + 2]
    local event, id, key
    at = at + 3
    if string.find(has, 'e', 1, true) then event, at = args[at], at + 1 end
    if string.find(has, 'i', 1, true) then id, at = args[at], at + 1 end
    if string.find(has, 'k', 1, true) then key, at = args[at], at + 1 end
    table.insert(outcomes, publish_one(args[1], channel, payload, event, id, key))
  end
  return outcomes
end

local function described(state)
  local past = {}
  for _, each in ipairs(state.past) do
    table.insert(past, each.epoch)
    table.insert(past, each.upTo)
  end
  return { state.epoch, state.offset, past }
end

local function log_of(prefix, state, channel)
  return prefix .. ':log:' .. state.generation .. ':' .. channel
end

local function top_of(prefix, state, channel)
  local top = redis.call('GET', prefix .. ':top:' .. state.generation .. ':' .. channel)
  if top then return tonumber(top) end
  local last = redis.call('XREVRANGE', log_of(prefix, state, channel), '+', '-', 'COUNT', 1)[1]
  return last and tonumber(string.match(last[1], '^%d+')) or forgotten(prefix, state, state.offset)
end

-- The offset of the publication before an entry in its channel.
local function previous_of(entry)
  return tonumber(entry[2][2])
end

local function bytes_of(entry)
  local bytes = ENTRY_BYTES
  for _, each in ipairs(entry[2]) do bytes = bytes + #each end
  return bytes
end

-- Entries of a log with offsets from `from` on, downwards or upwards to `to`: at most `limit` and `bytes` of them, though always one.
-- Returns them, what they have, and whether there are more. What is read at a time follows from what has been, since one may have
-- some bytes and the next a megabyte.
local function page(log, downwards, from, to, limit, bytes)
  local entries, size, at_a_time = {}, 0, 1
  while #entries < limit do
    local found = redis.call(downwards and 'XREVRANGE' or 'XRANGE', log, from, to, 'COUNT', at_a_time)
    for _, entry in ipairs(found) do
      local more = bytes_of(entry)
      if size + more > bytes and #entries > 0 then return entries, size, 1 end
      table.insert(entries, entry)
      size = size + more
    end
    if #found < at_a_time then return entries, size, 0 end
    local last = tonumber(string.match(found[#found][1], '^%d+'))
    from = string.format('%.0f', downwards and last - 1 or last + 1)
    local fits = math.floor((bytes - size) * #entries / size)
    at_a_time = math.max(1, math.min(ENTRIES_AT_A_TIME, fits, limit - #entries))
  end
  return entries, size, 1
end

-- prefix, channel, offset to begin behind, offset to end before or 0, most entries, most bytes, `newest` or `oldest` for which of them
-- come first → state, top, floor (of the newest: what lies before the last of them), entries, 1 where there are more
local function history(_, args)
  local prefix, channel, behind, before = args[1], args[2], tonumber(args[3]), tonumber(args[4])
  local limit, bytes = tonumber(args[5]), tonumber(args[6])
  local state = current(prefix)
  local top, log = top_of(prefix, state, channel), log_of(prefix, state, channel)
  local first, last = string.format('%.0f', behind + 1), before > 0 and string.format('%.0f', before - 1) or '+'
  local entries, _, more, oldest
  if args[7] == 'newest' then
    entries, _, more = page(log, true, last, first, limit, bytes)
    oldest = entries[#entries]
  else
    entries, _, more = page(log, false, first, last, limit, bytes)
  end
  oldest = oldest or redis.call('XRANGE', log, '-', '+', 'COUNT', 1)[1]
  return { described(state), top, oldest and previous_of(oldest) or top, entries, more }
end

-- prefix, offset, most bytes, channels … → state, for each channel with something behind that offset: its place in the list, its
-- floor, entries, the newest first, 1 where there are more; and how many channels were looked at before there were enough bytes
local function missed(_, args)
  local prefix, since, room = args[1], tonumber(args[2]), tonumber(args[3])
  local state = current(prefix)
  local found, looked = {}, 0
  for i = 4, #args do
    if room <= 0 then break end
    local top = top_of(prefix, state, args[i])
    if top > since then
      local log = log_of(prefix, state, args[i])
      local entries, size, more = page(log, true, '+', string.format('%.0f', since + 1), math.huge, room)
      local oldest = entries[#entries]
      table.insert(found, { looked, oldest and previous_of(oldest) or top, entries, more })
      room = room - size
    end
    looked = looked + 1
  end
  return { described(state), found, looked }
end

-- Forgets the publications of a channel, not how far they went: who has not seen them all has a gap.
local function remove(_, args)
  local state = current(args[1])
  return redis.call('DEL', args[1] .. ':log:' .. state.generation .. ':' .. args[2])
end

-- Takes an offset and tells it to everybody who listens, so that they see where they stand.
local function mark_line(_, args)
  local prefix = args[1]
  local state, _, offset = next_offset(prefix, find(prefix) or open(prefix))
  redis.call('PUBLISH', prefix .. ':stored', table.concat({ state.epoch, offset, 0, 5, -1, -1 }, ' ') .. '\n:mark')
  return offset
end

-- prefix, options of the namespaces as JSON, the script's sha where this is one → version, state. What a gateway does when it
-- has connected.
local function connect(_, args)
  local prefix, options, sha = args[1], args[2], args[3]
  local state = current(prefix)
  if sha then redis.call('HSET', prefix .. ':history', 'script', sha) end
  if state.written ~= options then
    redis.call('HSET', prefix .. ':history', 'options', options)
    state.options = read_options(options)
    state.written = options
  end
  return { VERSION, described(state) }
end

local named = {}

local function offer(name, run)
  if LASTING then redis.register_function(name, run) else named[name] = run end
end

offer('longwire_publish', publish)
offer('longwire_publish_many', publish_many)
offer('longwire_history', history)
offer('longwire_missed', missed)
offer('longwire_remove', remove)
offer('longwire_connect', connect)
offer('longwire_mark', mark_line)

if not LASTING then
  local run = named[table.remove(ARGV, 1) or '']
  if not run then return redis.error_reply('ERR longwire: the first argument is the name of a function') end
  return run(KEYS, ARGV)
end
