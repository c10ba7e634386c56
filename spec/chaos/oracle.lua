-- oracle.lua: makes a random stream of events, and knows from it alone what must be in Redis when all of them are done. It
-- shares no code with the engine: what rules/ do is written down here once more, in the plainest way.
--
--   local oracle = require("spec.chaos.oracle").create(seed)
--   oracle:learn(server:pipeline(oracle:feed(1000)))       -- XADD commands, and the IDs that they got
--   local faults = oracle:differences(server)              -- {} when every count is exact
--
-- IDs are Redis' own, of the moment: only so timers and windows of entry IDs depend on nothing but the entries (times.lua).
--
-- What no oracle can know is in which rule a signal hits a worker. So it is told: `oracle.blamed` is what the engines say that
-- they blame for aborts that were ours, by "STREAM ID RULE". Only such a rule may have a letter `crash`, and then nothing else of
-- it; everything that the letters do not name must be as ever. A bomb, an event that a rule never comes back from, must have its
-- letter in any case.
--
-- Keys of rules whose outputs tell an order belong to one stream each, since across streams only the order of what was read
-- at the same time is promised.
local cjson = require "cjson"
local codec = require "spec.support.codec"
local decided = require "spec.chaos.decided"
local times = require "spec.chaos.times"

local oracle = {}
local Oracle = {}
Oracle.__index = Oracle

local STREAMS = { "orders", "visits", "clicks" }
local USERS, SHOPS, PAGE, SHOWN = 400, 30, 5000, 12
local RULES = { "alpha", "beats", "checks", "patterns", "refused", "sessions", "shops", "silences", "totals", "zz-omega" }
local TEXTS = { "b", "aaab", "c" }
local HEAVY, BOMB = ("a"):rep(4), ("a"):rep(60) -- a pattern takes about a millisecond, and for ever
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
  return setmetatable({ draw = generator(seed), group = group or "chaos", events = {}, ts = times.FIRST_TS, blamed = {}, owed = {},
    versions = { v0 = true } }, Oracle)
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
  elseif stream == "clicks" and dice <= 60 then
    event.type, event.text = "text", TEXTS[draw(#TEXTS)]
  end
  if stream == "visits" then
    self.ts = self.ts + draw(2) - 1
    event.ts = self.ts - (draw(50) == 1 and 100 + draw(300) or draw(40))
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

local function add(self, stream, event, fields)
  event.stream = stream
  self.events[#self.events + 1] = event
  return { "XADD", stream, "*", unpack(fields) }
end

-- The next `count` entries, as XADD commands. Many come in the same ms, and have the same IDs in two streams.
function Oracle:feed(count)
  local commands = {}
  for i = 1, count do
    local stream = STREAMS[self.draw(#STREAMS)]
    commands[i] = add(self, stream, make(self, stream))
  end
  return commands
end

-- The IDs of the last entries.
function Oracle:learn(ids)
  for i, id in ipairs(ids) do
    self.events[#self.events - #ids + i].id = type(id) == "string" and id or error(id.err)
  end
  return ids
end

-- The XADD of an event that patterns.lua is busy with, or never comes back from. `bomb`: "hang", the reason that its letter must have;
-- "any", it may be `crash` too; nil, none. It is not drawn, so that the others stay the same.
function Oracle:feed_pattern(bomb)
  local event = { type = "text", user = "clicks1", shop = "s1", text = bomb and BOMB or HEAVY, bomb = bomb }
  local fields = { "type", event.type, "user", event.user, "shop", event.shop, "text", event.text }
  return add(self, "clicks", event, fields)
end

-- The XADD of an event with which all sessions are over.
function Oracle:feed_end()
  local event = { type = "end", user = "visits0", shop = "s0", ts = times.LAST_TS }
  return add(self, "visits", event, { "data", cjson.encode(event) })
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

-- What a letter of a worker's end is called, and what the engines say that they blame.
local function name_of(event, rule)
  return ("%s %s %s"):format(event.stream, event.id, rule)
end

-- Has a worker ended in this rule on this event? Then the letter is all that there is of it.
local function is_down(must, event, rule)
  return must.down[name_of(event, rule)] ~= nil
end

-- A worker may also end while a rule only looks whether it wants the event. Bombs are told of by run_texts.
local function tell_down(must, event)
  for _, rule in ipairs(RULES) do
    if is_down(must, event, rule) and not (event.bomb and rule == "patterns") then
      table.insert(must.letters[event.stream], ("%s %s %s"):format(event.id, rule, must.down[name_of(event, rule)]))
    end
  end
end

-- The events that is_down is true of in some rule, by stream and ID.
local function ends_of(down)
  local ends = {}
  for name in pairs(down) do
    ends[name:match "^%S+ %S+"] = true
  end
  return ends
end

local function run_totals(must, event, users)
  if event.type ~= "buy" or is_down(must, event, "totals") then
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

-- The shadow of totals: what it would do, and beside it what totals does.
local function run_mirror(must, event)
  if event.type ~= "buy" then
    return
  end
  local did = ("HINCRBY sum %s %d"):format(event.user, event.amount)
  if is_down(must, event, "totals") then
    did = must.down[name_of(event, "totals")]
  elseif event.poison then
    did = "error"
  end
  local end_of_it = must.down[name_of(event, "shadow:mirror")]
  if end_of_it then
    return table.insert(must.mirror[event.stream], ("%s %s: %s"):format(event.id, end_of_it, did))
  end
  local user = must.mirrored[event.user] or { total = 0, n = 0 }
  must.mirrored[event.user] = user
  user.total, user.n = user.total + event.amount, user.n + 1
  table.insert(must.mirror[event.stream], ("%s total=%d n=%d: %s"):format(event.id, user.total, user.n, did))
end

local function run_texts(must, event)
  if not is_down(must, event, "alpha") then
    table.insert(must.marks, event.id .. " alpha")
  end
  if event.bomb then
    local reason = event.bomb == "any" and must.down[name_of(event, "patterns")] or "hang"
    table.insert(must.letters[event.stream], ("%s patterns %s"):format(event.id, reason))
  elseif not is_down(must, event, "patterns") and event.text:find("b", 1, true) then
    count_up(must.found, event.user)
  end
  if not is_down(must, event, "zz-omega") then
    table.insert(must.marks, event.id .. " omega")
  end
end

local function run_checks(must, event)
  if not is_down(must, event, "checks") then
    local seen = must.hits[event.user] or 0
    must.hits[event.user] = seen + 1
    table.insert(must.checks, ("%s %s tier=%s seen=%d"):format(event.id, event.user, "t" .. #event.user, seen))
  end
end

local function run_refused(must, event)
  if not is_down(must, event, "refused") then
    must.wrong = must.wrong + 1
    table.insert(must.refused, event.id)
  end
end

local function run_shops(must, event)
  if is_down(must, event, "shops") then
    return
  end
  local count = (must.shops[event.shop] or 0) + 1
  must.shops[event.shop] = count
  if count % 50 == 0 then
    must.milestones[event.shop] = must.milestones[event.shop] or {}
    table.insert(must.milestones[event.shop], tostring(count))
  end
end

-- In the order of the rules' names.
local function run_rules(must, event)
  if must.ends[event.stream .. " " .. event.id] then
    tell_down(must, event)
  end
  if event.type == "check" then
    run_checks(must, event)
  elseif event.type == "wrong" then
    run_refused(must, event)
  elseif event.type == "text" then
    run_texts(must, event)
  end
  run_shops(must, event)
  run_mirror(must, event)
  run_totals(must, event, must.users)
end

-- `is` tells of the letters of workers' ends: their reasons by what they name.
function Oracle:expectation(is, is_mended)
  local must = { down = is.down, ends = ends_of(is.down), is_mended = is_mended, marks = {}, found = {}, fired_letters = {},
    offers = {}, letters = {}, sum = {}, hits = {}, checks = {}, refused = {}, wrong = 0, shops = {},
    milestones = {}, users = {}, last = {}, count = {}, mirror = {}, mirrored = {} }
  local moments = times.begin(function(name)
    if is.fired[name] then
      table.insert(must.fired_letters, name .. " " .. is.fired[name])
    end
    return is.fired[name] ~= nil
  end)
  for _, stream in ipairs(STREAMS) do
    must.offers[stream], must.letters[stream], must.count[stream], must.mirror[stream] = {}, {}, 0, {}
  end
  for _, event in ipairs(self.events) do
    must.last[event.stream] = event.id
    must.count[event.stream] = must.count[event.stream] + 1
    if event.is_broken then
      table.insert(must.letters[event.stream], event.id .. "  decode")
    else
      run_rules(must, event)
      times.run(moments, event, function(rule) return is_down(must, event, rule) end)
    end
  end
  local late
  must.times, late = times.finish(moments)
  for _, id in ipairs(late) do
    table.insert(must.letters.visits, id .. " sessions late")
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
  each_entry(server, "marks", function(fields)
    local e = cjson.decode(fields.data)
    table.insert(is.marks, e.id .. " " .. e.rule)
    is.versions[e.rule][e.id] = e.version
  end)
end

local function read_letters(server, self, is)
  each_entry(server, ("tidemill:%s:dlq"):format(self.group), function(fields, id)
    if fields.reason == "unverified" then
      table.insert(is.unverified, fields.message)
    elseif fields.reason == "refused" then
      table.insert(is.refused, fields.id)
    elseif fields.timer or fields.window then
      local name = times.name(fields.rule, fields.key, fields.timer or fields.window, fields.id)
      table.insert(is.fired_letters, name .. " " .. fields.reason)
      is.fired[name] = fields.reason
    elseif is.letters[fields.stream] then
      table.insert(is.letters[fields.stream], ("%s %s %s"):format(fields.id, fields.rule, fields.reason))
      if fields.reason == "crash" or fields.reason == "hang" then
        is.down[name_of(fields, fields.rule)] = fields.reason
      end
    else
      table.insert(is.strange, ("letter %s: %s %s %s"):format(id, fields.reason, fields.stream, fields.message))
    end
  end)
end

local function read_shadow(server, self, is)
  each_entry(server, ("tidemill:%s:shadow:mirror"):format(self.group), function(fields)
    local would, did = cjson.decode((assert(codec.to_json(fields.would)))), cjson.decode((assert(codec.to_json(fields.did))))
    local wanted = fields.reason
    if not wanted then
      local event = would[2][2]
      wanted = ("total=%d n=%d"):format(event.total, event.n)
    end
    table.insert(is.mirror[fields.stream], ("%s %s: %s"):format(fields.id, wanted, fields.did_reason or table.concat(did[1], " ")))
    if fields.reason == "crash" or fields.reason == "hang" then
      is.down[name_of(fields, "shadow:mirror")] = fields.reason
    end
  end)
end

local function reality(self, server)
  local is = { offers = {}, letters = {}, checks = {}, refused = {}, unverified = {}, milestones = {}, strange = {}, hits = {},
    marks = {}, versions = { alpha = {}, omega = {} }, down = {}, fired = {}, fired_letters = {}, mirror = {} }
  for _, stream in ipairs(STREAMS) do
    is.offers[stream], is.letters[stream], is.mirror[stream] = {}, {}, {}
  end
  read_outputs(server, is)
  read_letters(server, self, is)
  read_shadow(server, self, is)
  is.decided = decided.read(self.group, function(stream, call) each_entry(server, stream, call) end)
  is.times = times.read(function(stream, call) each_entry(server, stream, call) end)
  is.sum, is.wrong = numbers(server:hash("sum")), tonumber(server:call("HGET", "wrong", "n") or 0)
  for i = 1, USERS do
    is.hits["visits" .. i] = tonumber(server:call("GET", "hits:visits" .. i))
  end
  is.found = numbers(server:hash("found"))
  is.users, is.shops, is.mirrored = states(server, self, "totals"), {}, states(server, self, "shadow:mirror")
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

-- An end of a worker is a letter only where there is evidence (none of our events hangs that is no bomb), and then it must be one.
local function compare_down(faults, self, is)
  local bombs = {}
  for _, event in ipairs(self.events) do
    if event.bomb then
      bombs[name_of(event, "patterns")] = true
    end
  end
  for name, reason in pairs(is.down) do
    if not bombs[name] and not (reason == "crash" and self.blamed[name]) then
      faults(("a letter `%s` of %s, which no abort of ours was"):format(reason, name))
    end
  end
  local fired = {}
  for name, reason in pairs(is.fired) do
    local short = name:match "^%S+ %S+ %S+"
    fired[short] = true
    if reason ~= "crash" or not self.blamed[short] then
      faults(("a letter `%s` of %s, which no abort of ours was"):format(reason, name))
    end
  end
  for name in pairs(self.owed) do
    if not is.down[name] and not fired[name] then
      faults("no letter of " .. name .. ", which was blamed and was not edited since")
    end
  end
end

-- Every event is processed by one version of all rules, and by none that was never good.
local function compare_versions(faults, self, is)
  for id, version in pairs(is.versions.alpha) do
    local other = is.versions.omega[id]
    if not self.versions[version] or (other and other ~= version) then
      faults(("versions of %s: %s and %s"):format(id, version, tostring(other)))
    end
  end
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

local function count_reasons(is)
  local counts = { crash = 0, hang = 0, unverified = #is.unverified }
  for _, reason in pairs(is.down) do
    count_up(counts, reason)
  end
  return counts
end

local function compare_texts(faults, self, must, is)
  compare_maps(faults, "found", must.found, is.found)
  compare_lists(faults, "marks", must.marks, is.marks)
  compare_versions(faults, self, is)
  compare_down(faults, self, is)
end

local function compare_times(faults, self, server, must, is)
  local pending = server:call(unpack(self:pending_keys()))
  if pending > 0 then
    faults(("%d of the keys of timers and windows are still there"):format(pending))
  end
  for _, rule in ipairs(times.rules) do
    compare_lists(faults, rule, must.times[rule], is.times[rule])
  end
  compare_lists(faults, "letters of timers and windows", sorted(must.fired_letters), sorted(is.fired_letters))
end

-- What is not as it must be, as sentences; the second result is how many letters `crash`, `hang` and `unverified` there are.
function Oracle:differences(server)
  local is = reality(self, server)
  local all, must = {}, self:expectation(is)
  local function faults(text)
    if #all < SHOWN then
      all[#all + 1] = text
    end
  end
  for _, stream in ipairs(STREAMS) do
    compare_lists(faults, "offers from " .. stream, must.offers[stream], is.offers[stream])
    compare_lists(faults, "letters of " .. stream, sorted(must.letters[stream]), sorted(is.letters[stream]))
    compare_lists(faults, "records of mirror from " .. stream, must.mirror[stream], is.mirror[stream])
  end
  compare_maps(faults, "state of mirror, total,", flat(must.mirrored, "total"), flat(is.mirrored, "total"))
  compare_lists(faults, "records of decisions", sorted(decided.expectation(self.events)), sorted(is.decided))
  compare_lists(faults, "checks", must.checks, is.checks)
  for i = 1, SHOPS do
    compare_lists(faults, "milestones of s" .. i, must.milestones["s" .. i] or {}, is.milestones["s" .. i] or {})
  end
  compare_lists(faults, "strange letters", {}, is.strange)
  compare_texts(faults, self, must, is)
  compare_times(faults, self, server, must, is)
  compare_maps(faults, "sum", must.sum, is.sum)
  compare_maps(faults, "hits", must.hits, is.hits)
  compare_maps(faults, "wrong", { n = must.wrong }, { n = is.wrong })
  compare_maps(faults, "state of shops", must.shops, is.shops)
  for _, name in ipairs { "total", "n", "last" } do
    compare_maps(faults, "state of totals, " .. name .. ",", flat(must.users, name), flat(is.users, name))
  end
  compare_refused(faults, must, is)
  compare_positions(faults, self, server, must)
  return all, count_reasons(is)
end

-- After every letter was retried in a mended world: what does not depend on the order in which that was. Refused commands
-- (INCR alist, which is gone by then), retried or of later events, must have been done, each once.
function Oracle:differences_after_retry(server)
  local is = reality(self, server)
  local all, must = {}, self:expectation(is, true)
  local function faults(text)
    all[#all + 1] = text
  end
  compare_lists(faults, "records of decisions", sorted(decided.expectation(self.events)), sorted(is.decided))
  compare_maps(faults, "sum", must.sum, is.sum)
  for _, name in ipairs { "total", "n" } do
    compare_maps(faults, "state of totals, " .. name .. ",", flat(must.users, name), flat(is.users, name))
  end
  for _, stream in ipairs(STREAMS) do
    compare_lists(faults, "letters of " .. stream, sorted(must.letters[stream]), sorted(is.letters[stream]))
  end
  compare_texts(faults, self, must, is)
  compare_times(faults, self, server, must, is)
  compare_maps(faults, "alist", { n = #must.refused }, { n = tonumber(server:call("GET", "alist") or 0) })
  compare_maps(faults, "inbox", { n = 0 }, { n = server:call("XLEN", ("tidemill:%s:inbox"):format(self.group)) })
  compare_positions(faults, self, server, must)
  return all, count_reasons(is)
end

-- EXISTS of all that is there while a timer or window is still pending.
function Oracle:pending_keys()
  return times.keys(self.group)
end

-- Is the entry ID `a` above `b`?
oracle.is_above = is_above

-- What the rules look up; before the engine starts.
function Oracle:prepare(server)
  for i = 1, USERS do
    server:call("HSET", "tiers", "visits" .. i, "t" .. #("visits" .. i))
  end
  server:call("RPUSH", "alist", "x")
end

return oracle
