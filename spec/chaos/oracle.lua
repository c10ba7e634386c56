-- oracle.lua: makes a random stream of events, and knows from it alone what must be in Redis when all of them are done. It
-- shares no code with the engine: what rules/ do is written down here once more, in the plainest way.
--
--   local oracle = require("spec.chaos.oracle").create(seed)
--   for _, command in ipairs(oracle:feed(1000)) do … end   -- XADD commands, with their IDs
--   local faults = oracle:differences(server)              -- {} when every count is exact
--
-- Keys of rules whose outputs tell an order belong to one stream each, since across streams only the order of what was read
-- at the same time is promised.
local cjson = require "cjson"
local codec = require "spec.support.codec"

local oracle = {}
local Oracle = {}
Oracle.__index = Oracle

local STREAMS = { "orders", "visits", "clicks" }
local USERS, SHOPS, PAGE, SHOWN = 400, 30, 5000, 12
local BROKEN = { '{"type":"buy"', '{"type":"buy",}', "\x82\xa4type\xa3buy", "{nothing}" }

oracle.streams = STREAMS

-- A generator of its own, so that faults drawn elsewhere do not change the events: 0 <= n < 1.
local function generator(seed)
  local state = seed % 2147483646 + 1
  return function(most)
    state = state * 48271 % 2147483647
    return state % most + 1
  end
end

function oracle.create(seed, group)
  local self = setmetatable({ draw = generator(seed), group = group or "chaos", events = {}, ms = os.time() * 1000 - 1200000,
    seq = 0 }, Oracle)
  return self
end

---- input ----

-- One event: what it says, and its entry's fields.
local function make(self, stream)
  local draw = self.draw
  local dice = draw(1000)
  if dice <= 4 then
    return { is_broken = true }, { "data", BROKEN[draw(#BROKEN)] }
  end
  local event = { type = "click", shop = "s" .. draw(SHOPS), user = stream .. draw(USERS) }
  if stream == "orders" or (stream == "visits" and dice <= 300) then
    event.type, event.amount, event.poison = "buy", draw(100), dice <= 14 or nil
  elseif stream == "visits" and dice <= 315 then
    event.type = "check"
  elseif stream == "clicks" and dice <= 14 then
    event.type = "wrong"
  end
  if draw(8) == 1 and not event.poison then
    local fields = {}
    for name, value in pairs(event) do
      fields[#fields + 1], fields[#fields + 2] = name, tostring(value)
    end
    return event, fields
  end
  return event, { "data", cjson.encode(event) }
end

-- The next `count` entries, as XADD commands. Their IDs rise over all streams; some are the same in two streams.
function Oracle:feed(count)
  local commands = {}
  for i = 1, count do
    local stream = STREAMS[self.draw(#STREAMS)]
    if self.draw(3) == 1 then
      self.ms, self.seq = self.ms + 1, 0
    else
      self.seq = self.seq + 1
    end
    local id = ("%.0f-%d"):format(self.ms, self.seq)
    local event, fields = make(self, stream)
    event.stream, event.id = stream, id
    self.events[#self.events + 1] = event
    commands[i] = { "XADD", stream, id, unpack(fields) }
  end
  return commands
end

-- After a Redis that lost its tail: only what is still there has ever happened.
function Oracle:forget_lost(server)
  local kept, last = {}, {}
  for _, stream in ipairs(STREAMS) do
    local entry = server:call("XREVRANGE", stream, "+", "-", "COUNT", 1)[1]
    last[stream] = entry and entry[1] or "0-0"
  end
  local passed = {}
  for _, stream in ipairs(STREAMS) do
    passed[stream] = last[stream] == "0-0"
  end
  for _, event in ipairs(self.events) do
    if not passed[event.stream] then
      kept[#kept + 1] = event
      passed[event.stream] = event.id == last[event.stream]
    end
  end
  local lost = #self.events - #kept
  self.events = kept
  return lost
end

---- what must be ----

local function count_up(map, key, by)
  map[key] = (map[key] or 0) + (by or 1)
end

local function run_totals(must, event, users)
  if event.type ~= "buy" then
    return
  end
  if event.poison and not must.is_mended then
    table.insert(must.letters[event.stream], event.id .. " totals error")
    return
  end
  local user = users[event.user] or { total = 0, n = 0 }
  users[event.user] = user
  user.total, user.n, user.last = user.total + event.amount, user.n + 1, event.id
  count_up(must.sum, event.user, event.amount)
  if user.n % 3 == 0 then
    table.insert(must.offers[event.stream], ("%s %s total=%d n=%d"):format(event.id, event.user, user.total, user.n))
  end
end

local function run_others(must, event)
  if event.stream == "visits" and event.type == "check" then
    local seen = must.hits[event.user] or 0
    must.hits[event.user] = seen + 1
    table.insert(must.checks, ("%s %s tier=%s seen=%d"):format(event.id, event.user, "t" .. #event.user, seen))
  elseif event.stream == "clicks" and event.type == "wrong" then
    must.wrong = must.wrong + 1
    table.insert(must.refused, event.id)
  end
  local count = (must.shops[event.shop] or 0) + 1
  must.shops[event.shop] = count
  if count % 50 == 0 then
    must.milestones[event.shop] = must.milestones[event.shop] or {}
    table.insert(must.milestones[event.shop], tostring(count))
  end
end

function Oracle:expectation(is_mended)
  local must = { is_mended = is_mended, offers = {}, letters = {}, sum = {}, hits = {}, checks = {}, refused = {}, wrong = 0, shops = {},
    milestones = {}, users = {}, last = {}, count = {} }
  for _, stream in ipairs(STREAMS) do
    must.offers[stream], must.letters[stream], must.count[stream] = {}, {}, 0
  end
  for _, event in ipairs(self.events) do
    must.last[event.stream] = event.id
    must.count[event.stream] = must.count[event.stream] + 1
    if event.is_broken then
      table.insert(must.letters[event.stream], event.id .. "  decode")
    else
      run_others(must, event)
      run_totals(must, event, must.users)
    end
  end
  return must
end

---- what is ----

local function each_entry(server, stream, call)
  local from = "-"
  repeat
    local page = server:call("XRANGE", stream, from, "+", "COUNT", PAGE)
    for _, entry in ipairs(page) do
      local fields = {}
      for k = 1, #entry[2], 2 do
        fields[entry[2][k]] = entry[2][k + 1]
      end
      call(fields, entry[1])
    end
    from = page[1] and "(" .. page[#page][1]
  until #page < PAGE
end

local function numbers(hash)
  local out = {}
  for key, value in pairs(hash) do
    out[key] = tonumber(value)
  end
  return out
end

local function states(server, self, rule)
  local out = {}
  for key, bytes in pairs(server:hash(("tidemill:%s:state:%s"):format(self.group, rule))) do
    out[key] = cjson.decode((assert(codec.to_json(bytes))))[3]
  end
  return out
end

local function read_outputs(server, is)
  each_entry(server, "offers", function(fields)
    local e = cjson.decode(fields.data)
    table.insert(is.offers[e.stream], ("%s %s total=%d n=%d"):format(e.id, e.user, e.total, e.n))
  end)
  each_entry(server, "milestones", function(fields)
    local e = cjson.decode(fields.data)
    is.milestones[e.shop] = is.milestones[e.shop] or {}
    table.insert(is.milestones[e.shop], ("%d"):format(e.count))
  end)
  each_entry(server, "checks", function(fields)
    local e = cjson.decode(fields.data)
    table.insert(is.checks, ("%s %s tier=%s seen=%d"):format(e.id, e.user, tostring(e.tier), e.seen))
  end)
end

local function read_letters(server, self, is)
  each_entry(server, ("tidemill:%s:dlq"):format(self.group), function(fields, id)
    if fields.reason == "unverified" then
      table.insert(is.unverified, fields.message)
    elseif fields.reason == "refused" then
      table.insert(is.refused, fields.id)
    elseif is.letters[fields.stream] then
      table.insert(is.letters[fields.stream], ("%s %s %s"):format(fields.id, fields.rule, fields.reason))
    else
      table.insert(is.strange, ("letter %s: %s %s %s"):format(id, fields.reason, fields.stream, fields.message))
    end
  end)
end

local function reality(self, server)
  local is = { offers = {}, letters = {}, checks = {}, refused = {}, unverified = {}, milestones = {}, strange = {}, hits = {} }
  for _, stream in ipairs(STREAMS) do
    is.offers[stream], is.letters[stream] = {}, {}
  end
  read_outputs(server, is)
  read_letters(server, self, is)
  is.sum, is.wrong = numbers(server:hash("sum")), tonumber(server:call("HGET", "wrong", "n") or 0)
  for i = 1, USERS do
    is.hits["visits" .. i] = tonumber(server:call("GET", "hits:visits" .. i))
  end
  is.users, is.shops = states(server, self, "totals"), {}
  for shop, state in pairs(states(server, self, "shops")) do
    is.shops[shop] = state.count
  end
  return is
end

---- the judgement ----

local function compare_lists(faults, what, must, is)
  for i = 1, math.max(#must, #is) do
    if must[i] ~= is[i] then
      faults(("%s #%d: must be %s, is %s (%d must be, %d are)"):format(what, i, must[i] or "nothing", is[i] or "nothing",
        #must, #is))
      return
    end
  end
end

local function compare_maps(faults, what, must, is)
  for key, value in pairs(must) do
    if is[key] ~= value then
      faults(("%s of %s: must be %s, is %s"):format(what, key, tostring(value), tostring(is[key])))
    end
  end
  for key, value in pairs(is) do
    if must[key] == nil then
      faults(("%s of %s: must not be, is %s"):format(what, key, tostring(value)))
    end
  end
end

local function flat(users, name)
  local out = {}
  for user, state in pairs(users) do
    out[user] = state[name]
  end
  return out
end

local function number_of(id)
  local ms, seq = id:match("^(%d+)%-(%d+)$")
  return tonumber(ms), tonumber(seq)
end

local function is_above(a, b)
  local a_ms, a_seq = number_of(a)
  local b_ms, b_seq = number_of(b)
  return a_ms > b_ms or a_ms == b_ms and a_seq > b_seq
end

-- Is the refusal of an event of `clicks` covered by a letter "unverified"?
local function is_covered(letters, id)
  for _, message in ipairs(letters) do
    local after, to = message:match("clicks after (%d+%-%d+) up to (%d+%-%d+)")
    if after and is_above(id, after) and not is_above(id, to) then
      return true
    end
  end
  return false
end

-- Every refusal has its letter once, or an `unverified` tells of its range.
local function compare_refused(faults, must, is)
  local seen = {}
  for _, id in ipairs(is.refused) do
    if seen[id] then
      faults("two letters `refused` of " .. id)
    end
    seen[id] = true
  end
  for _, id in ipairs(must.refused) do
    if not seen[id] and not is_covered(is.unverified, id) then
      faults("no letter `refused` of " .. id .. ", and no `unverified` covers it")
    end
    seen[id] = nil
  end
  for id in pairs(seen) do
    faults("a letter `refused` of " .. id .. " that must not be")
  end
end

local function compare_positions(faults, self, server, must)
  local ctl = server:hash(("tidemill:%s:ctl"):format(self.group))
  if ctl.unverified then
    faults("ctl.unverified stands: " .. ctl.unverified)
  end
  for _, stream in ipairs(STREAMS) do
    local last = must.last[stream]
    if ctl["offset:" .. stream] ~= last then
      faults(("offset of %s: must be %s, is %s"):format(stream, last, tostring(ctl["offset:" .. stream])))
    end
    local group = server:call("XINFO", "GROUPS", stream)[1] or {}
    local shown = {}
    for k = 1, #group, 2 do
      shown[group[k]] = group[k + 1]
    end
    if shown["last-delivered-id"] ~= last or shown["entries-read"] ~= must.count[stream] then
      faults(("group on %s: must be at %s, read %d; is at %s, read %s"):format(stream, last, must.count[stream],
        tostring(shown["last-delivered-id"]), tostring(shown["entries-read"])))
    end
  end
end

-- Of a batch, letters of events that waited for Redis come after those of others: only which there are is promised.
local function sorted(list)
  table.sort(list)
  return list
end

-- What is not as it must be, as sentences; the second result is how many letters `unverified` there are.
function Oracle:differences(server)
  local all, must, is = {}, self:expectation(), reality(self, server)
  local function faults(text)
    if #all < SHOWN then
      all[#all + 1] = text
    end
  end
  for _, stream in ipairs(STREAMS) do
    compare_lists(faults, "offers from " .. stream, must.offers[stream], is.offers[stream])
    compare_lists(faults, "letters of " .. stream, sorted(must.letters[stream]), sorted(is.letters[stream]))
  end
  compare_lists(faults, "checks", must.checks, is.checks)
  for i = 1, SHOPS do
    compare_lists(faults, "milestones of s" .. i, must.milestones["s" .. i] or {}, is.milestones["s" .. i] or {})
  end
  compare_lists(faults, "strange letters", {}, is.strange)
  compare_maps(faults, "sum", must.sum, is.sum)
  compare_maps(faults, "hits", must.hits, is.hits)
  compare_maps(faults, "wrong", { n = must.wrong }, { n = is.wrong })
  compare_maps(faults, "state of shops", must.shops, is.shops)
  for _, name in ipairs { "total", "n", "last" } do
    compare_maps(faults, "state of totals, " .. name .. ",", flat(must.users, name), flat(is.users, name))
  end
  compare_refused(faults, must, is)
  compare_positions(faults, self, server, must)
  return all, #is.unverified
end

-- After every letter was retried in a mended world: what does not depend on the order in which that was. `retried` refused
-- commands (INCR alist, which is gone by then) and those of `late` events must have been done, each once.
function Oracle:differences_after_retry(server, retried, late)
  local all, must, is = {}, self:expectation(true), reality(self, server)
  local function faults(text)
    all[#all + 1] = text
  end
  compare_maps(faults, "sum", must.sum, is.sum)
  for _, name in ipairs { "total", "n" } do
    compare_maps(faults, "state of totals, " .. name .. ",", flat(must.users, name), flat(is.users, name))
  end
  for _, stream in ipairs(STREAMS) do
    compare_lists(faults, "letters of " .. stream, sorted(must.letters[stream]), sorted(is.letters[stream]))
  end
  compare_maps(faults, "alist", { n = retried + late }, { n = tonumber(server:call("GET", "alist") or 0) })
  compare_maps(faults, "inbox", { n = 0 }, { n = server:call("XLEN", ("tidemill:%s:inbox"):format(self.group)) })
  compare_positions(faults, self, server, must)
  return all, #is.unverified
end

-- How many events so far ask for what Redis refuses.
function Oracle:count_wrong()
  local count = 0
  for _, event in ipairs(self.events) do
    count = count + ((event.stream == "clicks" and event.type == "wrong") and 1 or 0)
  end
  return count
end

-- What the rules look up; before the engine starts.
function Oracle:prepare(server)
  for i = 1, USERS do
    server:call("HSET", "tiers", "visits" .. i, "t" .. #("visits" .. i))
  end
  server:call("RPUSH", "alist", "x")
end

return oracle
