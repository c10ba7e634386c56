-- Records of decisions: what they say, which events have one, and what they leave out.
require "spec.support.runtime"
local decisions = require "tidemill.decisions"
local testing = require "tidemill.testing"

local function rule(fields)
  return ('local tidemill = require "tidemill" local window = tidemill.window return tidemill.rule { %s }'):format(fields)
end

local function load(fields, options)
  options = options or {}
  options.record = options.record or 1
  return testing.load(type(fields) == "table" and fields or { ["r.lua"] = rule(fields) }, options)
end

-- The only decision of the only record.
local function only(kit)
  local records = kit:decisions()
  assert.equal(1, #records)
  assert.equal(1, #records[1].rules)
  local d = records[1].rules[1]
  assert.equal("r", d.rule)
  assert.equal(8, #d.version)
  assert.is_nil(d.us) -- another in every run
  d.rule, d.version = nil, nil
  return d, records[1]
end

local PLAIN = [[stream = "s", key = "k", on_event = function(event, ctx) %s end]]

describe("a decision", function()
  it("has state, reasons, effects and timers", function()
    local kit = load([[stream = "s", key = "k", on_timer = function() end, on_event = function(event, ctx)
      ctx.reason("because") ctx.reason(7)
      ctx.state.n = (ctx.state.n or 0) + event.n
      ctx.emit("out", { n = event.n })
      ctx.redis.set("x", "a b")
      ctx.timer.set("t", 1000, { 1, 2 }) ctx.timer.cancel("u")
    end]])
    local id = kit:event("s", { k = 5, n = 2 })
    local d, record = only(kit)
    assert.same({
      outcome = "ran", key = "5", reasons = { "because", "7" }, state = { after = { n = 2 } },
      effects = { { stream = "out", event = { n = 2 } }, { command = { "SET", "x", "a b" } } },
      timers = { { set = "t", due = 1700000001000, payload = { 1, 2 } }, { cancel = "u" } },
    }, d)
    assert.same({ stream = "s", id = id, rules = record.rules }, record)
    kit:event("s", { k = 5, n = 3 })
    assert.same({ before = { n = 2 }, version = 1, after = { n = 5 } }, only(kit).state)
  end)

  it("of a state that is cleared, and one that has expired", function()
    local kit = load([[stream = "s", state = { ttl = 10 }, on_event = function(event, ctx)
      ctx.state = event.n and { n = event.n } or nil end]])
    kit:event("s", { n = 1 })
    assert.same({ after = { n = 1 } }, only(kit).state)
    kit:event("s", {})
    assert.same({ before = { n = 1 }, version = 1 }, only(kit).state)
    kit:event("s", { n = 2 })
    kit:decisions()
    kit:advance "1s"
    kit:event("s", { n = 3 })
    assert.same({ after = { n = 3 } }, only(kit).state)
  end)

  it("has the version of a state that was migrated, as it was before", function()
    local kit = load([[stream = "s", state = { version = 2, migrate = function(old) return { m = old.n } end },
      on_event = function(event, ctx) ctx.state.m = ctx.state.m + 1 end]])
    kit:set_state("r", nil, { n = 4 }, { version = 1 })
    kit:event("s", {})
    assert.same({ before = { n = 4 }, version = 1, after = { m = 5 } }, only(kit).state)
  end)

  local function why(fields, event)
    local kit = load(fields .. ", on_event = function() end")
    kit:event("s", event)
    local d = only(kit)
    assert.equal("filtered", d.outcome)
    assert.is_nil(d.key)
    return d.why
  end

  it("says why an event was passed over", function()
    local listed = [[stream = "s", when = { type = { "add", "pay", 3 } }]]
    assert.equal([[type is "view", and `when` asks for "add", "pay" or 3]], why(listed, { type = "view" }))
    assert.equal([[type is 4, and `when` asks for "add", "pay" or 3]], why(listed, { type = 4 }))
    assert.equal([[type is a table, and `when` asks for "add", "pay" or 3]], why(listed, { type = { 1 } }))
    assert.equal("the event has no field 'type', which `when` asks for", why(listed, { type = testing.null }))
    assert.equal("the event has no field 'type', which `when` asks for", why(listed, { n = 1 }))
    assert.equal("b is 2, and `when` asks for true", why([[stream = "s", when = { a = 1, b = true }]], { a = 1, b = 2 }))
    assert.equal("its function `when` said no", why([[stream = "s", when = function(e) return e.n == 1 end]], { n = 2 }))
  end)

  -- What a failed one says, of these fields.
  local function failure(fields, event, options)
    local kit = load(fields, options)
    kit:set_state("r", "1", { n = 1 })
    kit:event("s", event or { k = 1 })
    local d = only(kit)
    assert.equal("failed", d.outcome)
    assert.same({ nil, nil }, { d.effects, d.timers })
    return d, kit
  end

  it("of a rule that failed has what it said, and nothing of what it did", function()
    local d = failure([[stream = "s", key = "k", on_timer = function() end, on_event = function(event, ctx)
      ctx.state.n = 2 ctx.reason("before") ctx.emit("out", { a = 1 }) ctx.timer.set("t", 5)
      error("broken") end]])
    assert.same({
      outcome = "failed", reason = "error", message = "r.lua:3: broken", key = "1", reasons = { "before" },
      traceback = "r.lua:3: in on_event", state = { before = { n = 1 }, version = 1 },
    }, d)
    d = failure(PLAIN:format [[ctx.state.n = 3 ctx.dead("not this one")]])
    assert.same({ "dead", "not this one", { before = { n = 1 }, version = 1 } }, { d.reason, d.message, d.state })
    d = failure(PLAIN:format [[ctx.emit("out", {}) ctx.state = { f = print }]])
    assert.same({ "state", { before = { n = 1 }, version = 1 } }, { d.reason, d.state })
    d = failure(PLAIN:format [[for _ = 1, 9 do ctx.emit("out", { a = 1 }) end]], nil, { limits = { effects = 5 } })
    assert.equal("output", d.reason)
    d = failure([[event = { n = "number" }, ]] .. PLAIN:format "")
    assert.same({ "schema", nil }, { d.reason, d.key })
    assert.equal("key", failure(PLAIN:format "", { n = 1 }).reason)
    local kit
    d, kit = failure([[on_error = "skip", ]] .. PLAIN:format [[error "x"]])
    assert.same({ true, {} }, { d.skipped, kit:letters() })
  end)

  it("has lookups as they were answered, whatever the rule makes of the answers", function()
    local kit = load(PLAIN:format [[
      local all = ctx.redis.hgetall("h")
      all.name, all.more = "changed", true
      ctx.redis.get("nothing")
      if not pcall(ctx.redis.get, "list") then ctx.reason("no text") end
      ctx.redis.lrange("l", 0, -1)]])
    local answers = { ["HGETALL h"] = { name = "Ann" }, ["GET nothing"] = testing.null, ["LRANGE l 0 -1"] = { "a", "b" },
      ["GET list"] = testing.refusal "WRONGTYPE no" }
    kit:redis(answers)
    kit:event("s", { k = 1 })
    local d = only(kit)
    assert.same({
      { command = { "HGETALL", "h" }, answer = { name = "Ann" } }, { command = { "GET", "nothing" } },
      { command = { "GET", "list" }, error = "WRONGTYPE no" }, { command = { "LRANGE", "l", "0", "-1" }, answer = { "a", "b" } },
    }, d.lookups)
    assert.same({ "ran", { "no text" } }, { d.outcome, d.reasons })
  end)

  it("of a handler that began again is that of the try that counts", function()
    -- The first event of a rule finds out that it asks, and that it has a state: it begins anew twice.
    local kit = load(PLAIN:format [[ctx.reason("try") ctx.emit("out", { a = ctx.redis.get("a") }) ctx.state.n = 1]], { cold = true })
    kit:redis(function() return "x" end)
    kit:event("s", { k = 1 })
    local d = only(kit)
    assert.same({ { "try" }, 1, 1 }, { d.reasons, #d.effects, #d.lookups })
  end)

  it("of an event behind a write that it looks up is that of the batch that counts", function()
    local kit = load([[stream = "s", on_event = function(event, ctx)
      if event.n == 1 then ctx.redis.set("a", "new") else ctx.reason(ctx.redis.get("a")) end end]])
    local stored = "old"
    kit.on_effect = function(_, argv) stored = argv[3] end
    kit:redis(function() return stored end)
    kit:events("s", { { n = 0 }, { n = 1 }, { n = 2 } })
    local found = {}
    for n, record in ipairs(kit:decisions()) do found[n] = record.rules[1].reasons or {} end
    assert.same({ { "old" }, {}, { "new" } }, found)
  end)

  it("has rules in the order of their names, of those that read the stream", function()
    local kit = load { ["b.lua"] = rule(PLAIN:format ""), ["a.lua"] = rule [[stream = { "s", "t" }, on_event = function() end]],
      ["c.lua"] = rule(PLAIN:format 'error "c"'), ["d.lua"] = rule(PLAIN:format ""), ["e.lua"] = rule [[stream = "t",
      on_event = function() end]] }
    kit:event("s", { k = 1 })
    local found = {}
    for _, d in ipairs(kit:decisions()[1].rules) do found[#found + 1] = d.rule .. " " .. d.outcome end
    assert.same({ "a ran", "b ran", "c failed", "d ran" }, found)
  end)

  it("is there for none that cannot be decoded: the record says why", function()
    local kit = load(PLAIN:format "")
    kit:event("s", "\x81\xa1k")
    local record = kit:decisions()[1]
    assert.same({ {}, "decode" }, { record.rules, record.reason })
    assert.is_truthy(record.message:find "^msgpack: ")
  end)

  it("of a letter that is tried again is a record of its own", function()
    local kit = load(PLAIN:format "")
    kit:event("s", { k = 1 }, { only = "r", attempts = 2 })
    local _, record = only(kit)
    assert.equal(2, record.attempts)
  end)

  it("of a rule that stops at the event is made when it has gone on", function()
    local kit = load([[on_error = "stop", ]] .. PLAIN:format [[if event.n == 2 then error "two" end]])
    local processed, stopped = kit:events("s", { { k = 1, n = 1 }, { k = 1, n = 2 }, { k = 1, n = 3 } })
    assert.same({ 1, true }, { processed, stopped ~= nil })
    only(kit)
  end)
end)

describe("a decision in time", function()
  it("of a timer that fires is a record by rule, key and name", function()
    local kit = load([[stream = "s", key = "k", on_event = function(_, ctx) ctx.timer.set("remind", 1000) end,
      on_timer = function(name, ctx) ctx.reason("time is up") ctx.state.fired = name end]])
    kit:event("s", { k = "u" })
    kit:decisions()
    kit:advance "2s"
    local d, record = only(kit)
    assert.same({ id = "1700000001000", timer = "remind", rule = "r", key = "u", rules = record.rules }, record)
    assert.same({ outcome = "ran", key = "u", reasons = { "time is up" }, state = { after = { fired = "remind" } } }, d)
  end)

  it("of a timer that fails, or has to wait for an answer", function()
    local kit = load([[stream = "s", key = "k", on_event = function(_, ctx) ctx.timer.set("t", 1) ctx.timer.set("u", 2) end,
      on_timer = function(name, ctx) ctx.reason("x")
        if name == "u" then error("no " .. ctx.redis.get("a")) end
        ctx.emit("out", { a = ctx.redis.get("a") }) end]])
    kit:redis(function() return "answer" end)
    kit:event("s", { k = "u" })
    kit:decisions()
    kit:advance "2s"
    local records = kit:decisions()
    assert.same({ "t", "u" }, { records[1].timer, records[2].timer })
    local first, second = records[1].rules[1], records[2].rules[1]
    assert.same({ "ran", { "x" }, 1, { { stream = "out", event = { a = "answer" } } } },
      { first.outcome, first.reasons, #first.lookups, first.effects })
    assert.same({ "failed", { "x" }, 1 }, { second.outcome, second.reasons, #second.lookups })
  end)

  local T = 1699999999980

  local function window_of(kind, ...)
    local kit = load(([[stream = "s", time = "ts", window = window.%s,
      merge = function(a, b) return { n = a.n + b.n } end, on_window = function(_, ctx) ctx.reason(ctx.window.n) end,
      on_event = function(_, ctx) ctx.window.n = (ctx.window.n or 0) + 1 end]]):format(kind))
    local found
    for _, ms in ipairs { ... } do
      kit:event("s", { ts = T + ms })
      found = kit:decisions()
    end
    return found[#found].rules[1].window, kit
  end

  it("has the window that the event went into", function()
    assert.same({ kind = "tumbling", start = T, stop = T + 10, before = { n = 1 }, after = { n = 2 } },
      (window_of("tumbling(10)", 1, 2)))
    assert.same({ kind = "sliding", start = T, stop = T + 5, before = { n = 1 }, after = { n = 2 } },
      (window_of("sliding(10, 5)", 1, 2)))
    assert.same({ kind = "session", start = T, stop = T + 12, before = { n = 1 }, after = { n = 2 } },
      (window_of("session(10)", 0, 2)))
    assert.same({ kind = "count", start = T + 1, stop = T + 7, before = { n = 1 }, after = { n = 2 } },
      (window_of("count(3)", 1, 7)))
  end)

  it("of a window that closes is a record by its times", function()
    local _, kit = window_of("tumbling(10)", 1, 2)
    kit:advance "10s"
    local d, record = only(kit)
    assert.equal(("%.0f-%.0f"):format(T, T + 10), record.window)
    assert.same({ outcome = "ran", key = "", reasons = { "2" } }, d)
  end)

  it("of an event that is late", function()
    local fields = [[stream = "s", time = "ts", window = window.tumbling(10), on_window = function() end,
      on_event = function(_, ctx) ctx.window.n = 1 end]]
    local kit = load(fields)
    kit:event("s", { ts = T + 50 })
    kit:decisions()
    kit:event("s", { ts = T })
    assert.same({ outcome = "late", key = "", late_ms = 50 }, (only(kit)))
    kit = load(fields .. [[, on_late = function(_, ctx) ctx.emit("out", { late = true }) end]])
    kit:event("s", { ts = T + 50 })
    kit:decisions()
    kit:event("s", { ts = T })
    local d = only(kit)
    assert.same({ "ran", 50, { { stream = "out", event = { late = true } } } }, { d.outcome, d.late_ms, d.effects })
  end)

  it("of an event whose time cannot be read", function()
    local kit = load [[stream = "s", time = "ts", on_event = function() end]]
    kit:event("s", { ts = "no time" })
    local d = only(kit)
    assert.same({ "failed", "time" }, { d.outcome, d.reason })
  end)
end)

describe("a record", function()
  it("leaves out what is too large, and says so", function()
    local kit = load(PLAIN:format [[
      for n = 1, 30 do ctx.reason(("x"):rep(5000)) ctx.emit("out", { n = n, t = ("y"):rep(n == 1 and 9000 or 1) }) end
      ctx.redis.set("x", ("z"):rep(5000)) ctx.redis.get("large")
      ctx.state.t = ("s"):rep(10000)]])
    kit:redis(function() return ("a"):rep(20000) end)
    kit:event("s", { k = ("k"):rep(3000) })
    local d = only(kit)
    assert.same({ 20, 30, 1028 }, { #d.reasons, d.reasons_count, #d.reasons[1] })
    assert.same({ 20, 31 }, { #d.effects, d.effects_count })
    assert.same({ "out", nil, 9009 }, { d.effects[1].stream, d.effects[1].event, d.effects[1].event_size })
    assert.same({ nil, 20003 }, { d.lookups[1].answer, d.lookups[1].answer_size })
    assert.same({ nil, 10006 }, { d.state.after, d.state.after_size })
    assert.equal(1028, #d.key)
  end)

  it("is not larger than it may be, however much its rules do", function()
    local rules = {}
    for n = 1, 300 do
      rules[("r%03d.lua"):format(n)] = rule(PLAIN:format [[ctx.state.t = ("s"):rep(3000) ctx.reason("why")]])
    end
    local kit, bytes = load(rules), nil
    local decision = kit.host.functions.decision
    kit.host.functions.decision = function(c, i, packed, len, ...)
      bytes = len
      return decision(c, i, packed, len, ...)
    end
    kit:event("s", { k = 1 })
    local record = kit:decisions()[1]
    assert.is_true(bytes > 20000 and bytes <= 45059, bytes)
    assert.same({ 3000, nil }, { #record.rules[1].state.after.t, record.rules[1].cut })
    local last = record.rules[#record.rules] -- however many digits the times of the others have
    assert.same({ true, "ran", nil }, { last.cut, last.outcome, last.state })
    assert.equal(300, #record.rules + (record.left_out or 0))
  end)

  it("keeps no more of a batch than it may", function()
    local kit, events = load(PLAIN:format [[ctx.state.t = ("s"):rep(8000)]]), {}
    for n = 1, 1500 do events[n] = { k = n } end
    kit:events("s", events)
    local whole, left = 0, 0
    for _, record in ipairs(kit:decisions()) do
      local d = record.rules[1]
      assert.equal("ran", d.outcome)
      if d.state and d.state.after then whole = whole + 1 else left = left + 1 end
    end
    assert.is_true(whole > 900 and whole < 1100 and whole + left == 1500, whole)
  end)

  it("cannot be seen or changed by a rule", function()
    local kit = load(PLAIN:format [[
      local t = { a = 1 }
      ctx.emit("out", t) t.a = 2
      ctx.state = { list = { 1 } }
      local ok = pcall(function() return ctx.decisions end)
      ctx.reason(tostring(ok))]])
    kit:event("s", { k = 1 })
    local d = only(kit)
    assert.same({ { "false" }, { stream = "out", event = { a = 1 } } }, { d.reasons, d.effects[1] })
  end)
end)

describe("the share that is recorded", function()
  local function recorded(share, batch_events, stream)
    local kit = load([[stream = { "s", "t" }, on_event = function() end]], { record = share, batch_events = batch_events })
    local events = {}
    for n = 1, 2000 do events[n] = { stream or "s", { n = n }, { id = ("%d-%d"):format(1700000000000 + n, n % 3) } } end
    kit:events(events)
    local ids = {}
    for n, record in ipairs(kit:decisions()) do ids[n] = record.id end
    return ids
  end

  it("is about that, and a function of the stream and the ID alone", function()
    local some = recorded(0.3)
    assert.is_true(#some > 500 and #some < 700, #some)
    assert.same(some, recorded(0.3, 1))
    assert.same(some, recorded(0.3, 7))
    local others, same = recorded(0.3, nil, "t"), 0
    local is_some = {}
    for _, id in ipairs(some) do is_some[id] = true end
    for _, id in ipairs(others) do same = same + (is_some[id] and 1 or 0) end
    assert.is_true(same > 100 and same < 300, same) -- not the same ones for each stream
    local more = recorded(0.6)
    local is_more = {}
    for _, id in ipairs(more) do is_more[id] = true end
    for _, id in ipairs(some) do assert.is_true(is_more[id]) end
    assert.equal(2000, #recorded(1))
  end)

  it("may be none: then the kernel has nothing of it", function()
    local kit = testing.load({ ["r.lua"] = rule(PLAIN:format [[ctx.reason("x")]]) }, { record = 0 })
    kit:event("s", { k = 1 })
    assert.same({}, kit:decisions())
    for _, name in ipairs { "selects", "record_rule", "save_state", "keep", "fail_event" } do
      assert.is_nil(rawget(kit.kernel, name), name)
    end
  end)

  it("takes IDs of any size", function()
    local kit = load([[stream = "s", on_event = function() end]], { record = 0.5, future = "3650d" })
    local count = 0
    for n = 1, 40 do
      kit:event("s", {}, { id = ("%d-%s"):format(1700000000000 + n, n % 2 == 0 and "999999999999999" or "0") })
      count = count + #kit:decisions()
    end
    assert.is_true(count > 5 and count < 35, count)
    assert.equal(decisions.seed "orders", decisions.seed "orders")
    assert.are_not.equal(decisions.seed "orders", decisions.seed "order")
  end)

  it("must be one", function()
    for _, bad in ipairs { -0.1, 1.1, "all", 0 / 0 } do
      local ok, text = pcall(testing.load, { ["r.lua"] = rule(PLAIN:format "") }, { record = bad })
      assert.is_false(ok)
      assert.is_truthy(text:find("a number from 0 to 1", 1, true), text)
    end
  end)
end)
