-- Shadow rules: they run beside the live ones on the same traffic, leave nothing of what those do otherwise, and what they would
-- have done is kept exactly once.
local engine = require "spec.support.engine"
local exact = require "spec.support.exact"
local files = require "spec.support.files"
local redis = require "spec.support.redis"

local T = 1600000000000

describe("a shadow rule", function()
  local server, e

  before_each(function() server = redis.start() end)

  after_each(function() e = engine.clear(server, e) end)

  local function start(rules, settings)
    e = engine.start { server = server, rules = rules, settings = settings }
    return e
  end

  -- Its records, oldest first, with the effects unpacked.
  local function records(name)
    local list = {}
    for n, entry in ipairs(server:entries(e:key("shadow:" .. (name or "next")))) do
      local fields = entry.fields
      fields.would, fields.did = engine.unpack(fields.would), engine.unpack(fields.did)
      list[n] = fields
    end
    return list
  end

  local function shadow(body, head) return engine.rule(body, 'mode = "shadow", ' .. head) end

  local function status_of(name)
    for _, rule in ipairs(e:status().rules) do
      if rule.name == name then return rule end
    end
  end

  describe("changes nothing of what live rules write:", function()
    local HEAD = 'stream = "orders", key = "k"'
    local WINDOW = HEAD .. [[, time = "ts", idle = "10h", window = require("tidemill.window").tumbling("1s"),
      on_window = function(span, ctx) ctx.emit("windows", { k = ctx.key, start = span.start, n = ctx.window.n }) end]]
    local TIMER = HEAD .. [[, on_timer = function(name, ctx)
      if ctx.key == "k1" then error("no timers for k1", 0) end
      ctx.emit("fired", { k = ctx.key, name = name, now = ctx.now })
    end]]
    local LOOKUP = [[
      ctx.state.n = (ctx.state.n or 0) + 1
      local seen = ctx.redis.get("last:" .. event.k)
      ctx.redis.set("last:" .. event.k, event.n)
      ctx.emit("found", { n = event.n, seen = seen })
      if event.n % 10 == 0 then ctx.dead("tenth") end]]
    local COUNT = "ctx.window.n = (ctx.window.n or 0) + 1"
    local SET = 'ctx.timer.set("t" .. event.n % 3, event.n * 7)'
    local LIVE = {
      ["lookup.lua"] = engine.rule(LOOKUP, HEAD .. ', event = { n = "number", k = "string" }'), ["timer.lua"] = engine.rule(SET, TIMER),
      ["window.lua"] = engine.rule(COUNT, WINDOW),
    }

    local function put()
      for n = 1, 400 do
        local event = n % 97 == 0 and "\x81\xa1" or engine.pack { n = n % 50 == 0 and "fifty" or n, k = "k" .. n % 5, ts = T + n * 20 }
        server:call("XADD", "orders", ("%.0f-0"):format(T + n * 20), "data", event)
      end
    end

    -- Which field of a table is packed first depends on the VM.
    local function sorted(bytes) return engine.pack(engine.unpack(bytes)) end

    -- All that is left, as text without what depends on the clock.
    local function left(list)
      e:wait_position("orders", ("%.0f-0"):format(T + 8000), 20)
      -- The last timers are due at the tail.
      e:wait_equal(0, function() return server:call("ZCARD", e:key "timers:timer:wall") end, 10, "timers")
      e:wait_done()
      local all, unordered = {}, {}
      for _, stream in ipairs(list) do
        for _, entry in ipairs(server:entries(stream)) do all[#all + 1] = stream .. " " .. sorted(entry.fields.data) end
      end
      for _, letter in ipairs(server:entries(e:key "dlq")) do
        local fields, names = letter.fields, {}
        fields.at = nil
        for name, v in pairs(fields) do names[#names + 1] = name .. "=" .. v end
        table.sort(names)
        unordered[#unordered + 1] = table.concat(names, " ")
      end
      for _, name in ipairs { "state:lookup", "windows:window", "timerdata:timer" } do
        for key, v in pairs(server:hash(e:key(name))) do unordered[#unordered + 1] = ("%s %s %s"):format(name, key, sorted(v)) end
      end
      table.sort(unordered) -- within a batch letters come as their handlers end, which depends on who waited for what
      for _, text in ipairs(unordered) do all[#all + 1] = text end
      for n = 0, 4 do all[#all + 1] = tostring(server:call("GET", "last:k" .. n)) end
      all[#all + 1] = table.concat(server:call("ZRANGE", e:key "timers:window:window", 0, -1, "WITHSCORES"), " ")
      return all
    end

    it("not in streams, letters, state, timers, windows or keys", function()
      local outputs = { "found", "fired", "windows" }
      local function run(rules)
        put()
        start(rules, { batch_events = 50 })
        return left(outputs)
      end
      local expected = run(LIVE)
      assert.is_true(#expected > 500)
      e:stop()
      server:call "FLUSHALL"
      local all = {}
      for name, text in pairs(LIVE) do all[name] = text end
      local function beside(name, body, head)
        all["z_" .. name .. ".lua"] = shadow(body, ('shadow_of = "%s", '):format(name) .. head)
        all["a_" .. name .. ".lua"] = shadow(body, head)
      end
      -- Those write what the live ones look at, set the same timers, and fail on their own account.
      beside("lookup", LOOKUP .. ' ctx.redis.set("last:k1", "x") if event.n % 3 == 0 then error "three" end', HEAD)
      beside("timer", SET .. ' ctx.timer.set("more", 5) ctx.emit("fired", {})', TIMER)
      beside("window", COUNT .. ' ctx.emit("windows", {})', WINDOW)
      local found = run(all)
      for n = 1, math.max(#expected, #found) do assert.equal(expected[n], found[n]) end
      assert.is_true(server:call("XLEN", e:key "shadow:z_lookup") > 300)
      assert.is_true(server:call("XLEN", e:key "shadow:a_window") > 300)
    end)
  end)

  it("keeps what it would have done, and its state under its name", function()
    engine.send(server, "orders", {
      { id = "5-1", { k = "x", n = 1 } }, { id = "5-2", { k = "y", n = 20 } }, { id = "5-3", { k = "x", n = 30 } },
      { id = "5-4", { k = "x", n = 40 } },
    })
    local head = 'stream = "orders", key = "k"'
    start {
      ["old.lua"] = engine.rule('if event.n >= 20 then ctx.emit("offers", { k = event.k, n = event.n }) end', head),
      ["next.lua"] = shadow([[ctx.state.n = (ctx.state.n or 0) + 1
        if event.n == 40 then error "forty" end
        if event.n == 30 then ctx.redis.hset("h", "f", event.n) end
        if event.n >= 20 then ctx.emit("offers", { n = event.n, k = event.k }) end]], 'shadow_of = "old", ' .. head),
    }
    e:wait_done()
    local list = records()
    assert.equal(3, #list)
    local function offer(k, n) return { "offers", { k = k, n = n } } end
    local function at(record) return { record.stream, record.id, record.key, record.same, record.of } end
    assert.same({ "orders", "5-2", "y", "1", "old" }, at(list[1]))
    assert.same({ { offer("y", 20) }, { offer("y", 20) } }, { list[1].would, list[1].did })
    assert.same({ "orders", "5-3", "x", "0", "old" }, at(list[2]))
    assert.same({ { { "HSET", "h", "f", "30" }, offer("x", 30) }, { offer("x", 30) } }, { list[2].would, list[2].did })
    assert.same({ "orders", "5-4", "x", "0", "old" }, at(list[3]))
    assert.same({ {}, { offer("x", 40) }, "error" }, { list[3].would, list[3].did, list[3].reason })
    assert.matches("next.lua:%d+: forty", list[3].message)
    assert.matches("next.lua:%d+: in on_event", list[3].traceback)
    assert.same({ n = 2 }, (e:state("shadow:next", "x")))
    assert.is_nil(e:state("next", "x"))
    assert.same({}, e:letters())
    assert.equal(0, server:call("EXISTS", "h"))
    local rule, old = status_of "shadow:next", status_of "old"
    assert.same({ list[1].version, list[1].of_version }, { rule.version, old.version })
    assert.same({ "old", 4, 1, 3, 1, 2, 0, 0 }, { rule.shadow_of, rule.events, rule.failed, rule.shadow_effects, rule.shadow_same,
      rule.shadow_different, rule.shadow_only_would, rule.shadow_only_did })
    assert.is_nil(old.shadow_same)
  end)

  it("has outputs as JSON where the settings say so", function()
    engine.send(server, "orders", { { n = 1 } })
    start({
      ["old.lua"] = engine.rule 'ctx.emit("offers", { n = 1 })', ["next.lua"] = shadow('ctx.emit("offers", { n = 1 })',
        'shadow_of = "old", stream = "orders"'),
    }, { outputs = { offers = { codec = "json", maxlen = 10 } } })
    e:wait_done()
    assert.equal('{"n":1}', server:entries("offers")[1].fields.data)
    local record = records()[1]
    assert.same({ { { "offers", { n = 1 } } }, "1" }, { record.would, record.same })
  end)

  it("fires its own timers and windows, beside those of the other", function()
    local function head(n) return ([[stream = "orders", key = "k", time = "ts", window = require("tidemill.window").tumbling("1s"),
      on_window = function(span, ctx) ctx.emit("counts", { n = ctx.window.n * %d }) end,
      on_timer = function(name, ctx) ctx.emit("fired", { n = %d }) end]]):format(n, n) end
    local body = 'ctx.window.n = (ctx.window.n or 0) + 1 ctx.timer.set("t", 60000)'
    local time = server:call "TIME"
    local ms = time[1] * 1000 + math.floor(time[2] / 1000)
    engine.send(server, "orders", { { id = ms .. "-0", { k = "x", ts = T } } })
    start { ["old.lua"] = engine.rule(body, head(1)), ["next.lua"] = shadow(body, 'shadow_of = "old", ' .. head(2)) }
    e:wait_done()
    for _, name in ipairs { "timers:shadow:next:wall", "timers:shadow:next:window", "windows:shadow:next" } do
      assert.equal(1, server:call("EXISTS", e:key(name)), name)
    end
    local seen = ("%.0f"):format(T)
    assert.same({ seen, seen }, { e:ctl "seen:shadow:next:orders", e:ctl "watermark:shadow:next" })
    -- Another engine knows what the first one saw.
    e:kill()
    server:call("DEL", e:key "lease")
    e = e:another()
    e:wait_true(function() return (status_of "shadow:next").watermark == T end, 5, "the watermark of before")
    -- The timer, brought forward; and an event that closes the window.
    e:stop()
    for _, name in ipairs { "old", "shadow:next" } do
      local key = e:key("timers:" .. name .. ":wall")
      server:call("ZADD", key, ms + 1, server:call("ZRANGE", key, 0, 0)[1])
    end
    e = e:another()
    engine.send(server, "orders", { { id = (ms + 2) .. "-0", { k = "y", ts = T + 1000 } } })
    e:wait_position("orders", (ms + 2) .. "-0")
    e:wait_done()
    local list = records()
    -- The states of the two windows were fetched one after the other, so they closed in two commits: two halves.
    assert.equal(3, #list)
    local id = ("%.0f"):format(ms + 1)
    assert.same({ "t", id, "x", { { "fired", { n = 2 } } }, { { "fired", { n = 1 } } }, "0" },
      { list[1].timer, list[1].id, list[1].key, list[1].would, list[1].did, list[1].same })
    local span = ("%.0f-%.0f"):format(T, T + 1000)
    assert.same({ span, "x", {}, { { "counts", { n = 1 } } } }, { list[2].window, list[2].key, list[2].would, list[2].did })
    assert.same({ span, "x", { { "counts", { n = 2 } } }, {} }, { list[3].window, list[3].key, list[3].would, list[3].did })
    local rule = status_of "shadow:next"
    assert.same({ 2, 0, 0, 0 },
      { rule.shadow_different, rule.shadow_same, rule.shadow_only_would, rule.shadow_only_did })
    assert.same({ { n = 1 } }, e:emitted "counts")
    assert.same({ { n = 1 } }, e:emitted "fired")
  end)

  it("alone writes nothing of anybody", function()
    engine.send(server, "orders", { { n = 1 }, { n = 2 } })
    start { ["next.lua"] = shadow('ctx.redis.incr("count") ctx.emit("orders", { n = event.n })', 'stream = "orders"') }
    e:wait_done()
    assert.same({ 2, 0 }, { #records(), server:call("EXISTS", "count") })
    assert.is_nil(e:ctl "unverified")
    local status = e:status()
    assert.same({ 0, 0, 0 }, { status.partitions[1].effects, status.partitions[1].letters, status.rules[1].fed_back })
    assert.equal(2, server:call("XLEN", "orders"))
  end)

  it("leaves effects that Redis refuses what they are", function()
    server:call("SET", "text", "x")
    engine.send(server, "orders", { { id = "5-1", { n = 1 } }, { id = "5-2", { n = 2 } } })
    start {
      ["old.lua"] = engine.rule 'ctx.redis.incr("count") ctx.redis.lpush("text", event.n)',
      ["a.lua"] = shadow('ctx.redis.lpush("text", event.n) ctx.redis.incr("text")', 'shadow_of = "old", stream = "orders"'),
    }
    e:wait_done()
    local letters = e:letters()
    assert.same({ "refused", "old", "5-1", "refused", "old", "5-2" }, { letters[1].reason, letters[1].rule, letters[1].id,
      letters[2].reason, letters[2].rule, letters[2].id })
    assert.matches("LPUSH", letters[1].payload)
    assert.equal("2", server:call("GET", "count"))
    assert.equal(2, #records "a")
  end)

  it("is not taken for one whose effect Redis refuses to queue", function()
    server:call("ACL", "SETUSER", "mill", "on", ">pw", "~*", "&*", "+@all", "-publish")
    engine.send(server, "orders", { { id = "5-1", { n = 1 } }, { id = "5-2", { n = 2 } } })
    e = engine.start { server = server, url = server:url("", "mill:pw@"), rules = {
      ["old.lua"] = engine.rule 'ctx.redis.publish("news", event.n) ctx.emit("out", { n = event.n })',
      ["a.lua"] = shadow('for _ = 1, 5 do ctx.redis.publish("shadow", "x") end', 'shadow_of = "old", stream = "orders"'),
    } }
    e:wait_position("orders", "5-2")
    e:wait_done()
    local letters = e:letters()
    assert.same({ 2, "refused", "5-1", "5-2" }, { #letters, letters[1].reason, letters[1].id, letters[2].id })
    assert.matches("news", letters[1].payload)
    assert.same({ { n = 1 }, { n = 2 } }, e:emitted "out")
    local list = records "a"
    assert.same({ 2, 5, { { "out", { n = 1 } } }, "refused" }, { #list, #list[1].would, list[1].did, list[1].did_reason })
  end)

  it("that keeps failing is no alarm", function()
    engine.flood(server, "orders", 300)
    start({ ["old.lua"] = engine.rule 'ctx.emit("out", event)', ["next.lua"] = shadow('error "always"', 'shadow_of = "old", '
      .. 'on_error = "stop", stream = "orders"') }, { failing = { in_a_row = 10, percent = 10 } })
    e:wait_done()
    assert.equal(300, #e:emitted "out")
    assert.same({ {}, {}, {} }, { e:letters(), e:logged "rule_failing", e:logged "rule_stopped" })
    local rule = status_of "shadow:next"
    assert.same({ false, 300, 300 }, { rule.failing, rule.failed, rule.shadow_different })
    assert.equal(300, #records())
  end)

  it("keeps so many records as shadow_maxlen says, about", function()
    engine.flood(server, "orders", 5000)
    start({ ["next.lua"] = shadow('ctx.emit("out", { n = event.n })', 'stream = "orders"') }, { shadow_maxlen = 200 })
    e:wait_done()
    local list = records()
    assert.is_true(#list >= 200 and #list < 400, tostring(#list))
    assert.same({ "1-5000", 5000 }, { list[#list].id, list[#list].would[1][2].n })
    assert.equal(5000, status_of("shadow:next").shadow_only_would)
  end)

  it("costs no live rule anything when its key is taken by something else", function()
    engine.flood(server, "orders", 50)
    server:call("SET", "tidemill:g:shadow:next", "mine")
    start({ ["old.lua"] = engine.rule 'ctx.emit("out", { n = event.n })',
      ["next.lua"] = shadow('ctx.emit("out", { n = event.n })', 'shadow_of = "old", stream = "orders"') }, { batch_events = 10 })
    e:wait_done()
    assert.same({ 50, 0 }, { server:call("XLEN", "out"), #e:letters() })
    assert.equal("tidemill:g:shadow:*", e:wait_logged("record_refused").key)
    assert.equal("mine", server:call("GET", "tidemill:g:shadow:next"))
  end)

  it("keeps little of what only one of the two fired, until the other does", function()
    engine.flood(server, "orders", 1000, function(n) return { n = n, k = "k" .. n } end)
    local head = 'stream = "orders", key = "k", on_timer = function(_, ctx) ctx.emit("fired", { t = ctx.key:rep(20000) }) end'
    start({ ["old.lua"] = engine.rule('ctx.timer.set("t", 10)', head),
      ["next.lua"] = shadow("ctx.state.n = 1", 'shadow_of = "old", ' .. head) }, { limits = { vm_mb = 16 }, batch_events = 20 })
    e:wait_equal(1000, function() return server:call("XLEN", "fired") end, 20, "all timers")
    e:wait_done()
    assert.same({ 0, 1000, 1000 }, { #e:letters(), #records(), status_of("shadow:next").shadow_only_did })
  end)

  describe("under which the engine dies", function()
    local RULES = {
      ["exact.lua"] = exact.RULES["exact.lua"],
      ["next.lua"] = shadow([[
        ctx.state.count = (ctx.state.count or 0) + 1
        if event.n % 7 == 0 then error("seventh", 0) end
        ctx.emit("out", { n = event.n, count = ctx.state.count })
        ctx.redis.incr "never"]], 'shadow_of = "exact", stream = "orders", key = "k"'),
    }

    -- One record for each event, in order; the shadow's state counts what did not fail.
    local function check(last)
      exact.check(e, last, 60)
      local list, counts = records(), {}
      assert.equal(last, #list)
      for n, record in ipairs(list) do
        local k = "k" .. n % exact.KEYS
        assert(record.id == "1-" .. n and record.key == k, ("record %d is of %s"):format(n, record.id))
        assert(#record.did == 2 and record.did[1][2].n == n, "what was done with event " .. n)
        if n % 7 == 0 then
          assert(record.reason == "error" and #record.would == 0, "event " .. n)
        else
          counts[k] = (counts[k] or 0) + 1
          assert(record.would[1][2].count == counts[k], ("count of event %d: %s"):format(n, record.would[1][2].count))
        end
      end
      for k, count in pairs(counts) do assert.same({ count = count }, (e:state("shadow:next", k))) end
      assert.equal(0, server:call("EXISTS", "never"))
      for _, letter in ipairs(e:letters()) do assert.equal("unverified", letter.reason) end
    end

    it("loses and doubles no record", function()
      local last = 24000
      start(RULES, { batch_events = 100, lease_ms = 600, limits = { hard_ms = 200 }, shadow_maxlen = 1000000 })
      exact.feed(server, 200)
      for round = 1, 8 do
        local count = server:call("XLEN", e:key "shadow:next")
        exact.feed(server, 200 + round * 2800, 201 + (round - 1) * 2800)
        e:wait_true(function() return server:call("XLEN", e:key "shadow:next") > count end, 20, "records")
        if round % 4 == 0 then
          e:kill()
          e = e:another()
        else
          e:kill_worker()
          e:wait_true(function() return #e:workers() == 1 end, 5, "another worker")
        end
      end
      exact.feed(server, last, 200 + 8 * 2800 + 1)
      check(last)
    end)
  end)

  it("that takes the worker down is a record `crash`, and the live rules go on", function()
    engine.flood(server, "orders", 60, function() return { k = "x" } end)
    start({
      ["old.lua"] = engine.rule('ctx.emit("out", { n = event.n })', 'stream = "orders", key = "k"'),
      ["next.lua"] = shadow([[ctx.state.n = (ctx.state.n or 0) + 1
        if event.n == 30 then ctx.log.warn "dying" while true do end end]], 'shadow_of = "old", stream = "orders", key = "k"'),
    }, { lease_ms = 120000, limits = { rule_ms = 30000, hard_ms = 30000 } })
    e:wait_logged "rule_warn_shadow:next"
    e:kill_worker(1, "4") -- SIGILL: AddressSanitizer would catch SEGV
    e:wait_position("orders", "1-60")
    e:wait_done()
    assert.equal(60, #e:emitted "out")
    local crashed = {}
    for _, record in ipairs(records()) do
      if record.reason then crashed[#crashed + 1] = record.id .. " " .. record.reason end
    end
    assert.same({ "1-30 crash" }, crashed)
    assert.same({ n = 59 }, (e:state("shadow:next", "x")))
    for _, letter in ipairs(e:letters()) do assert.equal("unverified", letter.reason) end
  end)

  it("that never comes back from a pattern is a record `hang`, and the live rules go on", function()
    engine.flood(server, "orders", 60)
    start({
      ["old.lua"] = engine.rule 'ctx.emit("out", { n = event.n })',
      ["next.lua"] = shadow([[if event.n == 30 then return (("a"):rep(3000)):find(("a*"):rep(20) .. "b") end
        ctx.emit("out", { n = event.n })]], 'shadow_of = "old", stream = "orders"'),
    }, { lease_ms = 1200, limits = { rule_ms = 50, hard_ms = 300 } })
    e:wait_position("orders", "1-60", 20)
    e:wait_done()
    assert.equal(60, #e:emitted "out")
    local list, hung = records(), {}
    for _, record in ipairs(list) do
      if record.reason then hung[#hung + 1] = record.id .. " " .. record.reason end
    end
    assert.same({ 60, { "1-30 hang" } }, { #list, hung })
    for _, letter in ipairs(e:letters()) do assert.equal("unverified", letter.reason) end
  end)

  it("that takes the whole engine down each time is found, too", function()
    engine.flood(server, "orders", 20)
    start({
      ["old.lua"] = engine.rule 'ctx.redis.rpush("list", event.n)',
      ["next.lua"] = shadow('if event.n == 7 then ctx.log.warn "dying" while true do end end', 'shadow_of = "old", stream = "orders"'),
    }, { batch_events = 5, lease_ms = 120000, limits = { rule_ms = 30000, hard_ms = 30000 } })
    for _ = 1, 4 do
      e:wait_logged "rule_warn_shadow:next"
      e:kill()
      server:call("DEL", e:key "lease")
      e = e:another()
    end
    e:wait_position("orders", "1-20")
    e:wait_done()
    local list = records()
    assert.same({ 20, "1-7", "crash" }, { #list, list[7].id, list[7].reason })
    assert.equal(20, server:call("LLEN", "list"))
  end)

  it("goes live, and back, with the state of each", function()
    local function text(mode) return engine.rule([[ctx.state.n = (ctx.state.n or 0) + 1
      ctx.emit("out", { n = ctx.state.n })]], mode .. 'stream = "orders", key = "k"') end
    local live = engine.rule('ctx.emit("other", {})', 'stream = "orders"')
    start { ["next.lua"] = text 'mode = "shadow", ', ["other.lua"] = live }
    local last = 0
    local function add(count)
      for n = last + 1, last + count do server:call("XADD", "orders", "1-" .. n, "k", "x") end
      last = last + count
      e:wait_position("orders", "1-" .. last)
    end
    local function turn(mode, name)
      files.write_file(e.folder .. "/rules/next.lua", text(mode))
      e:wait_true(function() return status_of(name) end, 5, name)
    end
    add(3)
    turn("", "next")
    add(2)
    assert.same({ { n = 1 }, { n = 2 } }, e:emitted "out")
    assert.same({ { n = 3 }, { n = 2 } }, { (e:state("shadow:next", "x")), (e:state("next", "x")) })
    turn('mode = "shadow", shadow_of = "other", ', "shadow:next")
    add(1)
    assert.equal(2, #e:emitted "out")
    assert.same({ { n = 4 }, { n = 2 } }, { (e:state("shadow:next", "x")), (e:state("next", "x")) })
    -- The counts go on over an edit of a shadow rule.
    turn('mode = "shadow", shadow_of = "other",  ', "shadow:next")
    add(1)
    e:wait_true(function() return status_of("shadow:next").shadow_different == 2 end, 5, "the counts of both versions")
    local list = records()
    assert.same({ 5, "other", { n = 5 } }, { #list, list[5].of, list[5].would[1][2] })
    assert.equal("other", list[4].of)
    assert.is_nil(list[3].of)
  end)
end)
