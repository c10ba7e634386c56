-- Timers and windows of the kernel, in the test kit: when they fire, in which order, and that batches make no difference.
local runtime = require "spec.support.runtime"
local testing = require "tidemill.testing"

local START = 1700000000000
local ROUNDS = tonumber(os.getenv "TIDEMILL_ROUNDS") or 4

local function load(rules, options) return testing.load(rules, options) end

local function rule(text)
  return "local tidemill = require 'tidemill'\nreturn tidemill.rule {\n" .. text .. "\n}\n"
end

-- What effects on one stream say, as "a b c".
local function told(kit, stream)
  local parts = {}
  for _, effect in ipairs(kit:effects()) do
    if effect.stream == (stream or "out") then parts[#parts + 1] = tostring(effect.fields.v) end
  end
  return table.concat(parts, " ")
end

describe("a timer", function()
  local function plain(body, more)
    return load { ["r.lua"] = rule(([[
      stream = { "s", "t" }, key = "k", %s
      on_event = function(event, ctx) %s end,
      on_timer = function(name, ctx) ctx.emit("out", { v = name .. "@" .. (ctx.now - 1700000000000) }) end]]):format(
      more or "", body)) }
  end

  it("fires between the entries, by their IDs", function()
    local kit = plain [[ ctx.emit("out", { v = "e" }) if event.set then ctx.timer.set(event.set, event.delay) end ]]
    kit:events {
      { "s", { k = "a", set = "late", delay = 100 } },
      { "s", { k = "a", set = "early", delay = 49 } },
      { "s", { k = "a" }, { id = START + 50 } },
      { "t", { k = "b" }, { id = START + 99 } },
      { "t", { k = "b" }, { id = START + 100 } },
    }
    assert.equal("e e early@50 e e late@100 e", told(kit))
  end)

  it("is there once for a name and key: set again it replaces, cancelled it is gone", function()
    local kit = plain [[
      if event.set then ctx.timer.set(event.set, event.delay) end
      if event.cancel then ctx.timer.cancel(event.cancel) end ]]
    kit:event("s", { k = "a", set = "x", delay = 10 })
    kit:event("s", { k = "b", set = "x", delay = 10 })
    kit:event("s", { k = "a", set = "x", delay = "1s" })
    kit:event("s", { k = "b", cancel = "x" })
    kit:advance "100ms"
    assert.equal("", told(kit))
    kit:advance "1s"
    assert.equal("x@1002", told(kit))
    assert.same({}, kit:timers "r")
  end)

  it("that is not ahead fires a millisecond behind the position", function()
    local kit = plain [[ ctx.emit("out", { v = "e" }) if event.at then ctx.timer.set_at("x", event.at) end ]]
    kit:event("s", { k = "a", at = 5 })
    assert.equal(START + 1, kit:timers("r")[1].due)
    kit:event("s", { k = "a" })
    assert.equal("e x@1 e", told(kit))
  end)

  it("is set from within another at its due time", function()
    local kit = load { ["r.lua"] = rule [[
      stream = "s", on_event = function(_, ctx) ctx.timer.set("tick", 10) end,
      on_timer = function(name, ctx)
        ctx.state.n = (ctx.state.n or 0) + 1
        ctx.emit("out", { v = ctx.now - 1700000000000 })
        if ctx.state.n < 4 then ctx.timer.set(name, 10) end
      end]] }
    kit:event("s", {})
    kit:event("s", {}, { id = START + 1000 })
    assert.equal("10 20 30 40", told(kit))
  end)

  it("ties go by rule, key and name", function()
    local function setter(names)
      return rule(([[stream = "s", key = "k", on_event = function(_, ctx)
        for name in (%q):gmatch "%%S+" do ctx.timer.set_at(name, 1700000000100) end end,
        on_timer = function(name, ctx) ctx.emit("out", { v = ctx.key .. name }) end]]):format(names))
    end
    local kit = load { ["two.lua"] = setter "z y", ["one.lua"] = setter "x" }
    for _, key in ipairs { "b", "a", "a\0b" } do kit:event("s", { k = key }) end
    kit:advance "1s"
    assert.equal("ax a\0bx bx ay az a\0by a\0bz by bz", told(kit))
  end)

  it("knows its payload, and what is due", function()
    local kit = load { ["r.lua"] = rule [[
      stream = "s", on_event = function(event, ctx)
        ctx.emit("out", { v = tostring(ctx.timer.get "x") })
        ctx.timer.set("x", 10, event.payload)
        ctx.emit("out", { v = ctx.timer.get "x" - 1700000000000 })
        ctx.timer.set("y", 10) ctx.timer.cancel "y"
        ctx.emit("out", { v = tostring(ctx.timer.get "y") })
      end,
      on_timer = function(_, ctx) ctx.emit("out", { v = ctx.payload and ctx.payload[2].deep }) end]] }
    kit:event("s", { payload = { 1, { deep = "yes" } } })
    kit:advance "1s"
    assert.equal("nil 10 nil yes", told(kit))
  end)

  it("of a handler that failed is as before", function()
    local kit = plain [[
      ctx.timer.set("x", event.delay)
      if event.fails then ctx.timer.cancel "x" ctx.timer.set("y", 1) error "no" end ]]
    kit:event("s", { k = "a", delay = 10 })
    kit:event("s", { k = "a", delay = 20, fails = true })
    assert.equal(START + 10, kit:timers("r")[1].due)
    assert.is_nil(kit:timers("r")[2])
    assert.equal("error", kit:letters()[1].reason)
  end)

  it("that fails is a letter, and over", function()
    local kit = load { ["r.lua"] = rule [[
      stream = "s", key = "k", on_event = function(event, ctx) ctx.timer.set("x", 10, { a = event.k }) end,
      on_timer = function(_, ctx) ctx.state.n = 1 ctx.emit("out", { v = 1 }) ctx.timer.set("y", 5) error "oh" end]] }
    kit:event("s", { k = "u" })
    kit:advance "1s"
    local letter = kit:letters()[1]
    assert.same({ "error", "x", "u", ("%d"):format(START + 10), { a = "u" }, 1 },
      { letter.reason, letter.timer, letter.key, letter.id, letter.payload, letter.attempts })
    assert.equal("r.lua:4: in on_timer", letter.traceback)
    assert.same({}, kit:effects())
    assert.same({}, kit:timers "r")
    assert.is_nil(kit:state("r", "u"))
  end)

  it("stops a rule with on_error = stop before it, and fires when the rule is well", function()
    local kit = load { ["r.lua"] = rule [[
      stream = "s", key = "k", on_error = "stop",
      on_event = function(event, ctx) ctx.emit("out", { v = event.k }) ctx.timer.set("x", 10) end,
      on_timer = function(_, ctx) if ctx.key == "b" then error "oh" end ctx.emit("out", { v = "x" .. ctx.key }) end]] }
    for _, key in ipairs { "a", "b", "c" } do kit:event("s", { k = key }) end
    assert.is_truthy(kit:advance("1s"):find "oh")
    assert.equal("a b c xa", told(kit))
    assert.equal(2, #kit:timers "r")
    assert.same({}, kit:letters())
  end)

  it("follows the watermark when the rule says so", function()
    local kit = plain([[ ctx.emit("out", { v = "e" }) if event.set then ctx.timer.set(event.set, event.delay) end ]],
      [[clock = "event", time = "ts", lateness = 100,]])
    kit:event("s", { k = "a", ts = START, set = "x", delay = 1000 })
    kit:event("t", { k = "a", ts = START + 1000 })
    kit:event("s", { k = "a", ts = START + 1099 })
    assert.equal("e e e", told(kit))
    kit:event("t", { k = "a", ts = START + 1100 }, { id = START + 10 })
    assert.equal("e", told(kit))
    kit:event("s", { k = "b", ts = START + 1200 })
    assert.equal("x@1000 e", told(kit))
  end)

  for what, text in pairs {
    ["a name that is none"] = { 'ctx.timer.set("", 5)', "a timer's name has 1 to 128 letters, and no control characters" },
    ["a name of another type"] = { "ctx.timer.set({}, 5)", "the name must be a string, it is a table" },
    ["a delay that is none"] = { 'ctx.timer.set("x", "5 minutes")', "'5 minutes' is no duration" },
    ["a time that is none"] = { 'ctx.timer.set_at("x", 0/0)', "the time must be a number of milliseconds" },
    ["a payload that cannot be kept"] = { 'ctx.timer.set("x", 5, print)', "the payload cannot be kept" },
    ["a function that it has not"] = { 'ctx.timer.start("x")', "ctx.timer has no function 'start'" },
  } do
    it("refuses " .. what .. ", in the rule's own line", function()
      local kit = plain(text[1])
      kit:event("s", { k = "a" })
      local message = kit:letters()[1].message
      assert.is_truthy(message:find("^r.lua:4: ") and message:find(text[2], 1, true), message)
    end)
  end

  it("cannot be set by a rule that has no on_timer", function()
    local kit = load { ["r.lua"] = rule [[stream = "s", on_event = function(_, ctx) ctx.timer.set("x", 5) end]] }
    kit:event("s", {})
    assert.is_truthy(kit:letters()[1].message:find "the rule has no `on_timer`")
  end)

  it("counts for the limits of output", function()
    local kit = load({ ["r.lua"] = rule [[
      stream = "s", on_event = function(_, ctx) for n = 1, 100 do ctx.timer.set("x" .. n, 5) end end, on_timer = print]] },
      { limits = { effects = 50 } })
    kit:event("s", {})
    assert.equal("output", kit:letters()[1].reason)
    assert.same({}, kit:timers "r")
  end)
end)

-- ── batches make no difference ──────────────────────────────────────────────────────────────────────────────────────────

local RULES = {
  ["a_wall.lua"] = rule [[
    stream = { "s", "t" }, key = "k",
    on_event = function(event, ctx)
      if event.ask then ctx.redis.get("q" .. event.k) end
      local due = ctx.timer.get(event.name)
      if event.cancel then ctx.timer.cancel(event.name) else ctx.timer.set(event.name, event.delay, { event.n }) end
      ctx.emit("out", { v = "e" .. event.n .. tostring(due) })
    end,
    on_timer = function(name, ctx)
      if ctx.payload[1] % 7 == 0 then ctx.redis.get("q" .. ctx.key) end
      if ctx.payload[1] % 11 == 0 then error "eleven" end
      ctx.state.fired = (ctx.state.fired or 0) + 1
      ctx.emit("out", { v = name .. ctx.key .. ctx.now .. ":" .. ctx.state.fired })
      if ctx.state.fired % 3 == 0 then ctx.timer.set("z" .. name, 15, { 1 }) end
    end]],
  ["b_event.lua"] = rule [[
    stream = { "s", "t" }, key = "k", time = "ts", clock = "event", lateness = 20, idle = 200, state = { ttl = 300 },
    on_event = function(event, ctx)
      ctx.state.n = (ctx.state.n or 0) + 1
      ctx.timer.set(event.name, event.delay)
    end,
    on_timer = function(name, ctx) ctx.emit("out", { v = "ev" .. name .. ctx.key .. ctx.now .. "/" .. (ctx.state.n or 0) }) end]],
}

local function window_rule(window)
  return rule(([[
    stream = { "s", "t" }, key = "k", time = "ts", lateness = 30, idle = 200,
    window = require("tidemill.window").%s,
    merge = function(a, b) return { n = a.n + b.n, sum = a.sum + b.sum } end,
    on_event = function(event, ctx)
      local w = ctx.window
      if event.ask then ctx.redis.get("q" .. event.k) end
      w.n, w.sum = (w.n or 0) + 1, (w.sum or 0) + event.n
      ctx.state.seen = (ctx.state.seen or 0) + 1
    end,
    on_window = function(span, ctx)
      if ctx.window.n %% 5 == 4 then ctx.redis.get("q" .. ctx.key) end
      if ctx.window.n %% 9 == 8 then error "nine" end
      ctx.emit("out", { v = ("%%s %%d-%%d %%d %%d %%d"):format(ctx.key, span.start, span.stop, ctx.window.n, ctx.window.sum,
        ctx.state.seen) })
    end]]):format(window))
end

RULES["c_tumbling.lua"] = window_rule "tumbling(50)"
RULES["d_sliding.lua"] = window_rule "sliding(90, 30)"
RULES["e_session.lua"] = window_rule "session(25)"
RULES["f_count.lua"] = window_rule "count(4)"

local function random_events(draw, count)
  local events, ms = {}, START
  for n = 1, count do
    ms = ms + (draw(10) == 1 and draw(400) or draw(12) - 1)
    events[n] = { draw(2) == 1 and "s" or "t", {
      n = n, k = "k" .. draw(4), ts = ms - draw(60), name = "n" .. draw(3), delay = draw(80), cancel = draw(6) == 1 or nil,
      ask = draw(15) == 1 or nil,
    }, { id = ("%d-%d"):format(ms, n) } }
  end
  return events, ms
end

-- Records of decisions as lines of text.
local function shown(records)
  local function text(v)
    if type(v) ~= "table" then return tostring(v) end
    local parts = {}
    for name, one in pairs(v) do parts[#parts + 1] = tostring(name) .. "=" .. text(one) end
    table.sort(parts)
    return "{" .. table.concat(parts, " ") .. "}"
  end
  local lines = {}
  for n, record in ipairs(records) do lines[n] = text(record) end
  return lines
end

local function run(events, last_ms, options)
  options.start_ms = START
  local kit = load(RULES, options)
  kit:redis(function() return "answer" end)
  kit:events(events)
  kit:advance(last_ms + 5000 - kit.next_ms)
  local lines = {}
  for _, effect in ipairs(kit:effects()) do lines[#lines + 1] = effect.fields.v end
  local letters = {}
  for _, l in ipairs(kit:letters()) do
    letters[#letters + 1] = table.concat({ l.reason, l.rule, l.id, l.key, l.timer or l.window or "", l.message }, "|")
  end
  table.sort(letters)
  for _, R in ipairs(kit.rules) do lines[#lines + 1] = ("%s %d %s"):format(R.name, R.late, tostring(kit:watermark(R.name))) end
  return lines, letters, options.record and shown(kit:decisions())
end

describe("timers and windows", function()
  it("come to the same, however events are cut into batches", function()
    local seed = runtime.seed()
    for round = 1, ROUNDS do
      local state = seed * 1000 + round
      local function draw(most)
        state = (state * 1103515245 + 12345) % 2147483648
        return math.floor(state / 65536) % most + 1
      end
      local events, last_ms = random_events(draw, 120)
      local want, want_letters, want_records = run(events, last_ms, { batch_events = 1, record = 1 })
      assert.is_true(#want > 100 and #want_letters > 0 and #want_records > #events)
      for _, options in ipairs { { batch_events = 7, record = 1 }, {}, { cold = true },
        { cold = true, batch_events = 10, record = 1 } } do
        local got, got_letters, records = run(events, last_ms, options)
        for n = 1, records and math.max(#want_records, #records) or 0 do
          if records[n] ~= want_records[n] then
            error(("seed %d, round %d: record %d is %s, must be %s"):format(seed, round, n, tostring(records[n]),
              tostring(want_records[n])), 0)
          end
        end
        for n = 1, math.max(#want, #got) do
          if want[n] ~= got[n] then
            error(("seed %d, round %d, batches of %s%s: line %d is %s, must be %s"):format(seed, round,
              tostring(options.batch_events), options.cold and ", cold" or "", n, tostring(got[n]), tostring(want[n])), 0)
          end
        end
        assert.same(want_letters, got_letters, ("seed %d, round %d"):format(seed, round))
      end
    end
  end)

  it("fire in bounded batches, however many are due", function()
    local kit = load { ["r.lua"] = rule [[stream = "s", key = "k",
      on_event = function(_, ctx) ctx.timer.set("x", 5) end,
      on_timer = function(_, ctx) ctx.emit("out", { v = ctx.key }) end]] }
    local events = {}
    for n = 1, 2500 do events[n] = { k = ("%04d"):format(n) } end
    kit:events("s", events)
    local batches, take = 0, kit.take_batch
    function kit:take_batch(done)
      batches = batches + 1
      assert.is_true(done.fired <= 1000)
      return take(self, done)
    end
    local before = #kit:effects()
    kit:advance "10s"
    assert.is_true(batches >= 1 and before + #kit:effects() == 2500)
  end)
end)
