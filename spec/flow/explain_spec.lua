-- Decisions that are recorded, and `tidemill explain`: in the engine's own transactions, once for each event that is chosen.
local json = require "dkjson"
local engine = require "spec.support.engine"
local program = require "spec.support.program"
local redis = require "spec.support.redis"

local LOYALTY = [[
local tidemill = require "tidemill"
return tidemill.rule {
  stream = "orders",
  when   = { type = { "purchase", "refund" } },
  key    = "user",
  on_event = function(event, ctx)
    local segment = ctx.redis.hget("user:" .. ctx.key, "segment")
    ctx.reason("segment is " .. tostring(segment))
    ctx.state.total = (ctx.state.total or 0) + event.total
    ctx.state.segment = segment
    if event.total > 100 then error "too much for one order" end
    ctx.emit("offers", { user = ctx.key, total = ctx.state.total })
    ctx.redis.incr("orders:seen")
    ctx.timer.set("thanks", 1, { total = event.total })
  end,
  on_timer = function(name, ctx)
    ctx.reason("a moment later")
    ctx.emit("thanks", { user = ctx.key })
  end,
}
]]
local COUNTS = [[
local tidemill = require "tidemill"
return tidemill.rule {
  stream = "orders",
  on_event = function(event, ctx) ctx.state.n = (ctx.state.n or 0) + 1 end,
}
]]
local EMITS = engine.rule [[ctx.emit("out", { n = event.n })]]

describe("tidemill explain", function()
  local server, e

  before_each(function() server = redis.start() end)

  after_each(function() e = engine.clear(server, e) end)

  local function start(rules, settings, arguments)
    e = engine.start { server = server, rules = rules, settings = settings, arguments = arguments }
    return e
  end

  local function add(id, event) return server:call("XADD", "orders", id, "data", engine.pack(event)) end

  local function explain(...)
    local code, out, err = program.run({ "explain", "--group", "g", ... }, { env = { REDIS_URL = server:url() } })
    return out, code, err
  end

  local function explained(...)
    local out, code, err = explain(...)
    assert.same({ 0, "" }, { code, err })
    return out
  end

  -- The records as tables, oldest first.
  local function records()
    local list = {}
    if server:call("EXISTS", e:key "decisions") == 0 then return list end
    for _, entry in ipairs(server:call("XRANGE", e:key "decisions", "-", "+")) do
      local record = {}
      for n = 1, #entry[2], 2 do record[entry[2][n]] = entry[2][n + 1] end
      record.rules = engine.unpack(record.rules)
      list[#list + 1] = record
    end
    return list
  end

  -- A page without what differs from run to run: versions, µs, moments.
  local function steady(page)
    return (page:gsub("(\n[%w_]+) %x%x%x%x%x%x%x%x ", "%1 VERSION "):gsub(", %d+ µs", ", N µs")
      :gsub("%d%d%d%d%-%d%d%-%d%dT[%d:.]+Z", "MOMENT"))
  end

  local function shop()
    server:call("HSET", "user:u1", "segment", "vip")
    add("1000-0", { type = "purchase", user = "u1", total = 10 })
    add("1000-1", { type = "purchase", user = "u1", total = 20 })
    add("2000-0", { type = "view", user = "u1" })
    add("3000-0", { type = "purchase", user = "u1", total = 200 })
    start({ ["loyalty.lua"] = LOYALTY, ["counts.lua"] = COUNTS }, { record = 1 })
    e:wait_position("orders", "3000-0")
    e:wait_done()
    e:wait_equal(1, function() return server:call("XLEN", "thanks") end, 5, "fired timers")
  end

  it("shows what every rule did with an entry, and why", function()
    shop()
    assert.equal([[
orders 1000-1
recorded   MOMENT
event      {"total":20,"type":"purchase","user":"u1"}

counts VERSION ran, N µs
  state      n: 1 -> 2

loyalty VERSION ran, N µs
  key        u1
  reason     segment is vip
  lookup     HGET user:u1 segment -> "vip"
  state      total: 10 -> 30
  emit       offers {"user":"u1","total":30}
  write      INCR orders:seen
  timer      thanks set, due MOMENT, payload {"total":20}

Other rules, if there were any, did not read orders then.
]], (steady(explained("orders", "1000-1")):gsub('{"total":30,"user":"u1"}', '{"user":"u1","total":30}')))
  end)

  it("shows why a rule passed it over, or failed", function()
    shop()
    local page = steady(explained("orders", "2000"))
    assert.is_truthy(page:find('loyalty VERSION passed it over: type is "view", and `when` asks for "purchase" or "refund", N µs\n',
      1, true), page)
    page = steady(explained("orders", "3000-0", "--rule", "loyalty", "--full"))
    assert.is_truthy(page:find([[
loyalty VERSION failed: error (a dead letter), N µs
  key        u1
  message    loyalty.lua:11: too much for one order
  traceback  loyalty.lua:11: in on_event
  reason     segment is vip
  lookup     HGET user:u1 segment -> "vip"
  state      stayed {]], 1, true), page)
    assert.is_nil(page:find("counts", 1, true))
    assert.is_nil(page:find("Other rules", 1, true))
  end)

  it("shows what has changed inside of a value that does not fit a line", function()
    local deep = [[
local filled = {}
for n = 1, 200 do filled[n] = 1000 end
ctx.state.list = ctx.state.list or filled
ctx.state.deep = ctx.state.deep or { pad = ("x"):rep(200), inner = { count = 0 } }
ctx.state.list[150] = event.n
ctx.state.deep.inner.count = event.n
if event.n == 7 then for n = 1, 200 do ctx.state.list[n] = n end end]]
    add("1000-0", { n = 5 })
    add("1000-1", { n = 6 })
    add("1000-2", { n = 7 })
    start({ ["deep.lua"] = engine.rule(deep) }, { record = 1 })
    e:wait_position("orders", "1000-2")
    e:wait_done()
    local page = explained("orders", "1000-1")
    assert.is_truthy(page:find("  state      list[150]: 5 -> 6\n", 1, true), page)
    assert.is_truthy(page:find("  state      deep.inner: {\"count\":5} -> {\"count\":6}\n", 1, true), page)
    -- Too many: as a whole.
    page = explained("orders", "1000-2")
    assert.is_truthy(page:find("  state      list: [1000,", 1, true), page)
  end)

  it("knows that a shadow rule leaves no dead letter", function()
    add("1000-0", { type = "purchase" })
    start({ ["a.lua"] = engine.rule [[error "no"]], ["b.lua"] = engine.rule([[error "no"]], 'stream = "orders", mode = "shadow"') },
      { record = 1 })
    e:wait_position("orders", "1000-0")
    e:wait_done()
    local page = steady(explained("orders", "1000-0"))
    assert.is_truthy(page:find("\na VERSION failed: error (a dead letter), N µs\n", 1, true), page)
    assert.matches("\nshadow:b %x+ failed: error %(in shadow mode: no dead letter%), N µs\n", page)
    local _, code, err = explain("--rule", "b")
    assert.equal(1, code)
    assert.is_truthy(err:find("(in shadow mode the rule is shadow:b)", 1, true), err)
  end)

  it("prints a record as one JSON object", function()
    shop()
    local record = json.decode(explained("orders", "1000-1", "--json"))
    assert.same({ "orders", "1000-1", 20, nil }, { record.stream, record.id, record.event.total, record.partition })
    local loyalty = record.rules[2]
    assert.same({ "loyalty", "ran", "u1", { "segment is vip" } }, { loyalty.rule, loyalty.outcome, loyalty.key, loyalty.reasons })
    assert.same({ before = { total = 10, segment = "vip" }, version = 1, after = { total = 30, segment = "vip" } }, loyalty.state)
    assert.same({ { command = { "HGET", "user:u1", "segment" }, answer = "vip" } }, loyalty.lookups)
    assert.is_true(loyalty.us > 0 and loyalty.us < 1000000)
  end)

  it("lists the latest decisions for a key, timers that fired among them", function()
    shop()
    local list = {}
    for line in explained("--key", "u1", "--json"):gmatch "[^\n]+" do
      local record = json.decode(line)
      list[#list + 1] = (record.timer or record.id) .. " " .. record.rules[1].rule .. " " .. #record.rules
    end
    assert.same({ "3000-0 loyalty 1", "thanks loyalty 1", "1000-1 loyalty 1", "1000-0 loyalty 1" }, list)
    local page = steady(explained("--key", "u1", "--rule", "loyalty", "--count", "2"))
    assert.is_truthy(page:find("\n\n\nloyalty: timer thanks\ndue        MOMENT\nrecorded   MOMENT\n\nloyalty VERSION ran, N µs\n"
      .. "  key        u1\n  reason     a moment later\n", 1, true), page)
    assert.is_nil(page:find("orders 1000-1", 1, true))
    assert.equal(1, (select(2, explain("--key", "nobody"))))
  end)

  it("says when there is none, and why that may be", function()
    add("1000-0", { type = "view", user = "u1" })
    start({ ["counts.lua"] = COUNTS })
    e:wait_position("orders", "1000-0")
    e:wait_done()
    local function refused(...)
      local out, code, err = explain(...)
      assert.same({ "", 1 }, { out, code })
      return err
    end
    assert.is_truthy(refused("orders", "1000-0"):find "group g has no records of decisions: run with %-%-record 1")
    assert.is_truthy(refused("--rule", "counts"):find "group g has no records of decisions")
    assert.equal(0, server:call("EXISTS", e:key "decisions"))
    e:stop()
    e = e:another { arguments = { "--record", "1" } }
    local id = add("*", { type = "view" })
    e:wait_position("orders", id)
    e:wait_done()
    assert.is_truthy(refused("orders", "1000-0"):find "the first that is kept was made on 20%d%d%-.*; record_maxlen")
    assert.is_truthy(refused("orders", "999-0"):find("and the stream orders has no such entry; the first record that is kept was", 1, true))
    local later = ("%.0f-5"):format(tonumber(id:match "^%d+") + 60000)
    assert.is_truthy(refused("orders", later):find("and the stream orders has no such entry", 1, true))
    assert.is_truthy(refused("orders", id, "--rule", "none"):find("look at all of it without --rule and --key", 1, true))
    server:call("XADD", "others", later, "a", "b")
    assert.is_truthy(refused("others", later):find("not among the share that is recorded", 1, true))
    assert.is_truthy(explained("orders", id):find("counts", 1, true))
  end)

  it("refuses what makes no sense", function()
    for _, case in ipairs { { {}, "needs a stream and the ID" }, { { "orders" }, "the ID of an entry of orders" },
      { { "orders", "x-1" }, '"x-1" is no ID' }, { { "--count", "-1", "--key", "a" }, "--count" } } do
      local out, code, err = explain(unpack(case[1]))
      assert.same({ "", 2 }, { out, code })
      assert.is_truthy(err:find(case[2], 1, true), err)
    end
    local code, _, err = program.run({ "run", "--record", "1.5" })
    assert.equal(2, code)
    assert.is_truthy(err:find("--record must be a number from 0 (none) to 1 (all) such as 0.05, not 1.5", 1, true), err)
  end)

  it("keeps of a large event its size, and of one that is none why", function()
    add("1-1", { n = 1, t = ("x"):rep(20000) })
    server:call("XADD", "orders", "1-2", "data", "\x81\xa1")
    start({ ["counts.lua"] = COUNTS }, { record = 1 })
    e:wait_position("orders", "1-2")
    e:wait_done()
    local found = records()
    assert.same({ nil, "20013", "ran" }, { found[1].event, found[1].size, found[1].rules[1].outcome })
    assert.is_truthy(explained("orders", "1-1"):find("event      20013 bytes: too large to be kept", 1, true))
    assert.same({ "decode", {} }, { found[2].reason, found[2].rules })
    local page = explained("orders", "1-2")
    assert.is_truthy(page:find("No rule was given it: decode (a dead letter)\n  message    msgpack: at byte", 1, true), page)
  end)

  it("shows a retry as a record of its own, and windows that closed", function()
    local sessions = [[
local tidemill = require "tidemill"
return tidemill.rule { stream = "orders", key = "k", window = tidemill.window.session(10),
  merge = function(a, b) return { n = a.n + b.n } end,
  on_event = function(event, ctx) ctx.window.n = (ctx.window.n or 0) + 1 end,
  on_window = function(span, ctx) ctx.reason("events: " .. ctx.window.n) end }]]
    server:call("SET", "bad", "1")
    add("1000-0", { n = 1, k = "a" })
    add("1005-0", { n = 2, k = "a" })
    start({ ["w.lua"] = sessions, ["r.lua"] = engine.rule [[if event.n == 2 and ctx.redis.exists("bad") == 1 then error "bad" end]] },
      { record = 1 })
    e:wait_position("orders", "1005-0")
    e:wait_equal(1, function() return #e:letters() end, 5, "letters")
    server:call("DEL", "bad")
    assert.equal(0, (program.run({ "dlq", "retry", "--all", "--group", "g" }, { env = { REDIS_URL = server:url() } })))
    e:wait_equal(0, function() return #e:letters() end, 5, "letters left")
    local page = steady(explained("orders", "1005-0"))
    assert.is_truthy(page:find("\nr VERSION failed: error .*\n\n\norders 1005%-0\nrecorded   MOMENT\nattempts   1\n"), page)
    assert.is_truthy(page:find "attempts   1\n.*\nr VERSION ran", page)
    assert.is_truthy(page:find("\n  window     session, MOMENT to MOMENT\n             n: 1 -> 2\n", 1, true), page)
    e:wait_true(function()
      local last, code = explain("--rule", "w", "--key", "a", "--count", "1")
      return code == 0 and steady(last):find "^w: window MOMENT to MOMENT\n.*reason     events: 2\n"
    end, 8, "the window that closed")
  end)

  it("records each event once, whatever dies", function()
    local count = 4000
    engine.flood(server, "orders", count, function(n) return { n = n } end)
    start({ ["r.lua"] = EMITS }, { record = 0.5, batch_events = 50, lease_ms = 400, limits = { hard_ms = 100 } })
    for kill = 1, 4 do
      e:wait_true(function() return server:call("XLEN", "out") >= kill * 500 end, 20, "some progress")
      if kill % 2 == 0 then
        e:kill()
        e = e:another()
      else
        e:wait_workers(1)
        e:kill_worker(1)
      end
    end
    e:wait_equal(count, function() return server:call("XLEN", "out") end, 30, "all of it")
    e:wait_done()
    local seen, all = {}, records()
    assert.is_true(#all > count * 0.45 and #all < count * 0.55, #all)
    for _, record in ipairs(all) do
      assert.is_nil(seen[record.id], record.id)
      seen[record.id] = true
      local d = record.rules[1]
      assert.same({ "ran", 1, "out" }, { d.outcome, #d.effects, d.effects[1].stream })
    end
    -- Another group, which nobody disturbs, chooses the same ones.
    e:stop()
    e = engine.start { server = server, group = "other", rules = { ["r.lua"] = EMITS }, settings = { record = 0.5 } }
    e:wait_equal(2 * count, function() return server:call("XLEN", "out") end, 20, "all of it, once more")
    e:wait_done()
    local others = records()
    assert.equal(#all, #others)
    for _, record in ipairs(others) do assert.is_true(seen[record.id], record.id) end
  end)

  it("keeps about record_maxlen of them", function()
    engine.flood(server, "orders", 3000, function(n) return { n = n } end)
    start({ ["r.lua"] = EMITS }, { record = 1, record_maxlen = 200 })
    e:wait_equal(3000, function() return server:call("XLEN", "out") end, 20, "all of it")
    e:wait_done()
    local kept = server:call("XLEN", e:key "decisions")
    assert.is_true(kept >= 200 and kept <= 400, kept)
  end)

  it("needs little memory for them, however much the rules wrote", function()
    engine.flood(server, "orders", 400, function(n) return { n = n } end)
    start({ ["r.lua"] = engine.rule [[for i = 1, 20 do ctx.emit("out", { n = event.n, i = i, t = ("y"):rep(8000) }) end]] },
      { record = 1, batch_ms = 5000, limits = { vm_mb = 16, rule_ms = 900 } })
    e:wait_equal(400, function() return server:call("XLEN", e:key "decisions") end, 20, "all records")
    e:wait_done()
    assert.same({}, e:letters())
    assert.equal(8000, server:call("XLEN", "out"))
  end)

  it("says that records are lost when no stream stands at their key, and goes on", function()
    server:call("SET", "tidemill:g:decisions", "mine")
    engine.flood(server, "orders", 50, function(n) return { n = n } end)
    start({ ["r.lua"] = EMITS }, { record = 1, batch_events = 10 })
    e:wait_equal(50, function() return server:call("XLEN", "out") end, 10, "all of it")
    local line = e:wait_logged "record_refused"
    assert.same({ "warn", "tidemill:g:decisions" }, { line.level, line.key })
    assert.matches("delete or rename what stands at its key", line.message)
    assert.matches("^WRONGTYPE ", line.cause)
    server:call("DEL", "tidemill:g:decisions")
    server:call("XADD", "orders", "*", "data", engine.pack { n = 51 })
    e:wait_equal(1, function() return server:call("XLEN", e:key "decisions") end, 5, "the next record")
    e:wait_done()
    assert.same({ 51, 0 }, { server:call("XLEN", "out"), #e:letters() })
  end)

  it("keeps records and letters under the name of a long stream that stands alone", function()
    local name = ("s"):rep(300)
    engine.send(server, name, { { id = "5-1", { n = 1 } } })
    start({ ["r.lua"] = engine.rule([[error "no"]], ('stream = "%s"'):format(name)) }, { record = 1, partition = "stream" })
    e:wait_done(8, name)
    assert.same({ 1, 1 }, { #e:letters(name), server:call("XLEN", e:key("decisions", name)) })
  end)

  it("finds the record in the partition of the stream", function()
    server:call("XADD", "orders:{3}", "5-0", "data", engine.pack { n = 1 })
    server:call("XADD", "orders:{4}", "5-0", "data", engine.pack { n = 2 })
    start({ ["r.lua"] = engine.rule([[ctx.reason("n is " .. event.n)]], 'stream = "orders:*"') }, { record = 1 })
    e:wait_true(function() return server:call("XLEN", e:key("decisions", "3")) + server:call("XLEN", e:key("decisions", "4")) == 2 end,
      8, "records of both")
    local page = explained("orders:{4}", "5")
    assert.is_truthy(page:find("partition  4\n", 1, true), page)
    assert.is_truthy(page:find("n is 2", 1, true), page)
    assert.is_nil(page:find("n is 1", 1, true))
  end)
end)
