-- `tidemill replay` beside a live engine on the same streams: what it says would have happened is what did.
local engine = require "spec.support.engine"
local files = require "spec.support.files"
local program = require "spec.support.program"
local redis = require "spec.support.redis"
local replay = require "spec.support.replay"
local runtime = require "spec.support.runtime"
local timed = require "spec.support.timed"
local tree = require "spec.support.tree"
local wait = require "spec.support.wait"
local windows = require "spec.support.windows"

local SEED = runtime.seed()

describe("tidemill replay, seed " .. SEED, function()
  local server, e, draw

  before_each(function()
    server = redis.start()
    draw = runtime.generator(SEED)
  end)

  after_each(function() e = engine.clear(server, e) end)

  -- Runs a live engine over what is there, from the start, and ends it.
  local function live(options)
    options.server = server
    e = engine.start(options)
    for _, tag in ipairs(options.tags or { false }) do
      e:wait_done(20, tag or nil)
    end
    return e
  end

  local function again(options)
    options = options or {}
    options.folder, options.server = options.folder or e.folder, server
    return replay.run(options)
  end

  -- ── as a live engine ──────────────────────────────────────────────────────────────────────────────────────────────────

  it("gives the output of a rule with state in the same order, byte for byte in its numbers", function()
    engine.flood(server, "orders", 5000, function(n) return { user = "u" .. draw(50), total = draw(1000) / 8, n = n } end)
    live { rules = { ["spent.lua"] = engine.rule([[
      ctx.state.sum = (ctx.state.sum or 0) + event.total
      if ctx.state.sum > 500 then
        ctx.emit("offers", { user = ctx.key, sum = ctx.state.sum, lot = math.random(1000) })
        ctx.state = nil
      end]], 'stream = "orders", key = "user"') } }
    local r = again()
    local expected = e:emitted "offers"
    assert.is_true(#expected > 100)
    assert.same(expected, r:emitted "offers")
    assert.same({}, r:letters())
    local first = r:lines()[1]
    assert.equal("orders", first.stream)
    assert.equal("spent", first.rule)
    assert.equal(first.emit.event.user, first.key)
    assert.equal(first.emit.event.sum, expected[1].sum)
    assert.matches("^1%-%d+$", first.id)
    e:stop(10)
  end)

  it("fires timers where they fired, in front of the same entries", function()
    local entries, names, ms = {}, { "a", "b", "c" }, 1000
    for n = 1, 400 do
      ms = ms + draw(30) - 1
      local ops = {}
      for k = 1, draw(3) do
        local name = names[draw(#names)]
        local kind = draw(4)
        ops[k] = kind == 1 and { "cancel", name } or kind == 2 and { "set_at", name, ms + draw(300) - 100 }
          or { "set", name, draw(200), { left = draw(3) - 1, delay = draw(50) } }
      end
      entries[n] = { id = ("%d-%d"):format(ms, n), ms = ms, k = "k" .. draw(4), n = n, ops = ops }
    end
    local events = {}
    for n, entry in ipairs(entries) do
      events[n] = { id = entry.id, k = entry.k, n = entry.n, ops = #entry.ops > 0 and entry.ops or nil }
    end
    timed.put(server, "orders", events)
    live { rules = { ["a.lua"] = timed.rule "a", ["b.lua"] = timed.rule "b" } }
    local expected = timed.expected(entries, { "a", "b" })
    e:wait_equal(#expected, function() return server:call("LLEN", "log") end, 10, "all timers")
    local r = again()
    assert.same(expected, server:call("LRANGE", "log", 0, -1))
    assert.same(expected, r:pushed "log")
    e:stop(10)
  end)

  it("leaves a timer alone that is not due yet, and fires it when --to is later", function()
    local now = timed.now_ms(server)
    timed.put(server, "orders", { { id = ("%.0f-0"):format(now - 5000), k = "x", n = 1, ops = { { "set", "t", 3600000 } } } })
    e = { folder = engine.folder { rules = { ["a.lua"] = timed.rule "a" } }, kill = function() end }
    assert.same({ "a event 1" }, again():pushed "log")
    -- Time does not go beyond Redis' own.
    assert.same({ "a event 1" }, again({ arguments = { "--to", ("%.0f"):format(now + 7200000) } }):pushed "log")
    timed.put(server, "later", { { id = "1000-0", k = "y", n = 2, ops = { { "set", "t", 500 } } } })
    files.write_file(e.folder .. "/rules/b.lua", timed.rule("b", nil, '"later"'))
    assert.same({ "b event 2" }, again({ arguments = { "--stream", "later", "--to", "1499" } }):pushed "log")
    assert.same({ "b event 2", "b y t at 1500" }, again({ arguments = { "--stream", "later", "--to", "1500" } }):pushed "log")
  end)

  it("closes windows of event time over two streams, with late events, as they closed", function()
    local at = { [1] = 1000000000000, [2] = 1000000000000 }
    local puts = {}
    for n = 1, 1500 do
      local s = draw(2)
      at[s] = at[s] + draw(400)
      puts[n] = { stream = s == 1 and "orders" or "pays", id = ("%.0f-%d"):format(1000000000000 + n * 100, n), k = "k" .. draw(5),
        amount = draw(9), at = at[s] - (draw(10) == 1 and 3000 or 0) }
    end
    timed.put(server, "orders", puts)
    local head, two = 'time = "at", lateness = "1s", idle = "5s"', '{ "orders", "pays" }'
    live { settings = { future = "10d" }, rules = {
      ["session.lua"] = windows.rule("session", "session(700)", head, two),
      ["sliding.lua"] = windows.rule("sliding", "sliding(4000, 1000)", head, two),
      ["tumbling.lua"] = windows.rule("tumbling", "tumbling(5000)", head, two),
      ["counting.lua"] = windows.rule("counting", "count(7)", 'time = "at"', two),
    } }
    local r = again()
    for _, name in ipairs { "tumbling", "sliding", "session", "counting" } do
      e:wait_equal(#r:pushed(name), function() return server:call("LLEN", name) end, 10, "the windows of " .. name)
      assert.same(server:call("LRANGE", name, 0, -1), r:pushed(name), name)
      assert.is_true(#r:pushed(name) > 50)
    end
    assert.same(replay.sorted(replay.letters_of(e)), replay.sorted(r:letters()))
    assert.is_true(#r:letters() > 10)
    local spans = {}
    for _, line in ipairs(r:lines()) do
      if line.rule == "session" and line.command then
        local start, stop = line.command[3]:match "^%S+ (%d+) (%d+) "
        assert.equal(start .. "-" .. stop, line.window)
        assert.equal(stop, line.id)
        spans[#spans + 1] = line.window
      end
    end
    assert.is_true(#spans > 50)
    e:stop(10)
  end)

  it("looks things up in today's Redis, and says how many", function()
    for n = 1, 20 do
      server:call("HSET", "price:" .. n, "cents", n * 100)
    end
    engine.flood(server, "orders", 3000, function() return { sku = draw(25), k = "k" .. draw(30) } end)
    live { rules = { ["price.lua"] = engine.rule([[
      local cents = ctx.redis.hget("price:" .. event.sku, "cents")
      ctx.state.n = (ctx.state.n or 0) + 1
      ctx.emit("priced", { n = event.n, k = ctx.key, cents = cents or "none", of = ctx.state.n })]],
      'stream = "orders", key = "k"') } }
    local r = again()
    assert.same(e:emitted "priced", r:emitted "priced")
    local asked = tonumber(r.err:match "^tidemill: (%d+) lookups asked today's Redis, not that of then\n$")
    assert.is_true(asked >= 3000) -- more where a batch was begun anew
    local lookups = again({ arguments = { "--summary", "--json" } }):json().lookups
    assert.same({ HGET = asked }, lookups)
    assert.matches("lookups asked today's Redis, not that of then: 3,%d+ HGET\n", again({ arguments = { "--summary" } }).out)
    e:stop(10)
  end)

  it("takes each partition for itself, streams of one partition in the order of their IDs", function()
    for _, stream in ipairs { "a:{1}", "b:{1}", "a:{2}", "plain", "other" } do
      engine.flood(server, stream, 700, function() return { k = "k" .. draw(3) } end)
    end
    server:call("SET", "d:{2}", "no stream")
    live { tags = { false, "1", "2" }, rules = { ["all.lua"] = engine.rule([[
      ctx.state.n = (ctx.state.n or 0) + 1
      ctx.emit("out:" .. (ctx.stream:match "{(.-)}" or "none"), { s = ctx.stream, n = event.n, of = ctx.state.n })]],
      'stream = { "[abd]:*", "plain", "other" }, key = "k"') } }
    local r = again()
    for _, tag in ipairs { "1", "2", "none" } do
      local expected = e:emitted("out:" .. tag)
      assert.is_true(#expected >= 700)
      assert.same(expected, r:emitted("out:" .. tag), tag)
    end
    e:stop(10)
  end)

  it("gives each stream without a tag a partition of its own where the settings do", function()
    for _, stream in ipairs { "a", "b" } do
      engine.flood(server, stream, 300, function() return { k = "x" } end)
    end
    live { settings = { partition = "stream" }, tags = { "a", "b" }, rules = { ["all.lua"] = engine.rule([[
      ctx.state.n = (ctx.state.n or 0) + 1
      ctx.emit("out:" .. ctx.stream, { n = event.n, of = ctx.state.n })]], 'stream = "[ab]*", key = "k"') } }
    local r = again()
    for _, stream in ipairs { "a", "b" } do
      local expected = e:emitted("out:" .. stream)
      assert.equal(300, expected[300].of)
      assert.same(expected, r:emitted("out:" .. stream))
    end
    e:stop(10)
  end)

  it("lets states expire by the clock of then", function()
    local day, events, ms = 86400000, {}, 1000000000000
    for n = 1, 500 do
      ms = ms + draw(day)
      events[n] = { id = ("%.0f-0"):format(ms), k = "k" .. draw(3), n = n }
    end
    engine.send(server, "orders", (function()
      local list = {}
      for n, event in ipairs(events) do
        list[n] = { id = event.id, { k = event.k, n = event.n } }
      end
      return list
    end)())
    live { rules = { ["visits.lua"] = engine.rule([[
      ctx.state.n = (ctx.state.n or 0) + 1
      ctx.emit("visits", { k = ctx.key, n = event.n, of = ctx.state.n })]], 'stream = "orders", key = "k", state = { ttl = "1d" }') } }
    local r, seen = again(), {}
    local expected = e:emitted "visits"
    assert.same(expected, r:emitted "visits")
    for _, event in ipairs(expected) do
      seen[event.of] = true
    end
    assert.is_true(seen[1] and seen[3] or false)
    e:stop(10)
  end)

  it("makes the dead letters of a live engine, of every kind", function()
    local commands = {}
    for n = 1, 600 do
      local kind = draw(8)
      local data = kind == 1 and "\x81\xa1" or kind == 2 and engine.pack { n = "text" } or kind == 3 and engine.pack { n = n }
        or engine.pack { n = n, k = "k" .. draw(5), act = kind }
      commands[n] = { "XADD", "orders", n .. "-0", "data", data }
    end
    server:pipeline(commands)
    live { settings = { limits = { effects = 5 } }, rules = { ["picky.lua"] = engine.rule([[
      if event.act == 4 then ctx.dead "not today" end
      if event.act == 5 then error("oh " .. event.n) end
      if event.act == 6 then for i = 1, 6 do ctx.emit("out", { i = i }) end end
      if event.act == 7 then ctx.state.f = print ctx.emit("out", { n = 0 }) end
      ctx.timer.set("t" .. event.n % 3, 50)
      ctx.emit("out", { n = event.n })]], [[stream = "orders", key = "k", event = { n = "number" },
      on_timer = function(name, ctx) if ctx.now % 2 == 0 then error "even" end ctx.emit("out", { name = name }) end]]) } }
    local r = again()
    e:wait_equal(#r:emitted "out", function() return server:call("XLEN", "out") end, 10, "the timers")
    assert.same(e:emitted "out", r:emitted "out")
    assert.same(replay.sorted(replay.letters_of(e)), replay.sorted(r:letters()))
    local reasons = {}
    for _, letter in ipairs(r:letters()) do
      reasons[letter.reason] = true
    end
    assert.same({ decode = true, schema = true, key = true, dead = true, error = true, output = true, state = true }, reasons)
    e:stop(10)
  end)

  -- ── nothing but reading ───────────────────────────────────────────────────────────────────────────────────────────────

  it("writes nothing: a user that may only read is enough, and no other command is sent", function()
    server:call("HSET", "price", "x", 5)
    engine.flood(server, "orders:1", 500, function() return { k = "x" } end)
    local folder = engine.folder { rules = { ["w.lua"] = engine.rule([[
      ctx.redis.set("written", ctx.redis.hget("price", "x"))
      ctx.state.n = 1
      ctx.timer.set("t", 5)
      ctx.emit("out", { n = event.n })]], 'stream = "orders:*", key = "k", on_timer = function(_, ctx) ctx.emit("out", {}) end') } }
    server:call("ACL", "SETUSER", "reader", "on", ">secret", "~*", "+@read", "+time", "+command", "+xinfo", "+client|setname",
      "-@dangerous", "-@write", "+info", "+xinfo|stream")
    local before = server:call("INFO", "keyspace")
    server:call("CONFIG", "RESETSTAT")
    local r = replay.run { folder = folder, url = server:url("", "reader:secret@") }
    assert.equal(1001, #r:lines() - #r:emitted "nothing")
    assert.equal(500, #r:emitted "out" - 1)
    local sent = {}
    for name in server:call("INFO", "commandstats"):gmatch "cmdstat_([^:]+):calls" do
      sent[name] = true
    end
    for _, name in ipairs { "info", "config|resetstat", "config" } do
      sent[name] = nil -- our own
    end
    local allowed = { scan = true, xrange = true, ["xinfo|stream"] = true, xinfo = true, time = true, command = true, hget = true,
      auth = true, ["client|setname"] = true, client = true, select = true, hello = true, info = true }
    for name in pairs(sent) do
      assert.is_true(allowed[name], name)
    end
    assert.is_true(sent.xrange and sent.hget)
    assert.equal(before, server:call("INFO", "keyspace"))
    assert.equal(0, server:call("EXISTS", "written", "out"))
  end)

  -- ── bounds ────────────────────────────────────────────────────────────────────────────────────────────────────────────

  local EACH = engine.rule [[ctx.emit("out", { n = event.n })]]

  local function numbers(r)
    local list = {}
    for i, event in ipairs(r:emitted "out") do
      list[i] = event.n
    end
    return list
  end

  local function range(first, last)
    local list = {}
    for n = first, last do
      list[#list + 1] = n
    end
    return list
  end

  it("takes what --from, --to and --last say, entries at the bounds included", function()
    local now = timed.now_ms(server)
    local events = {}
    for n = 1, 10 do -- a minute apart, the last one a minute ago
      events[n] = { id = ("%.0f-%d"):format(now - (11 - n) * 60000, n), { n = n } }
    end
    engine.send(server, "orders", events)
    local folder = engine.folder { rules = { ["each.lua"] = EACH } }
    local function of(...)
      return numbers(replay.run { folder = folder, server = server, arguments = { ... } })
    end
    local function moment(n, format)
      return os.date(format or "!%Y-%m-%dT%H:%M:%S", math.floor((now - (11 - n) * 60000) / 1000))
        .. (format and "" or (".%03dZ"):format((now - (11 - n) * 60000) % 1000))
    end
    assert.same(range(1, 10), of())
    assert.same(range(3, 7), of("--from", events[3].id, "--to", events[7].id))
    assert.same(range(4, 6), of("--from", (events[3].id:gsub("%-3$", "-4")), "--to", (events[7].id:gsub("%-7$", "-6"))))
    assert.same(range(3, 7), of("--from", events[3].id:match "^%d+", "--to", (events[7].id:match "^%d+")))
    assert.same(range(3, 7), of("--from", moment(3), "--to", moment(7)))
    assert.same(range(1, 10), of("--from", moment(1, "!%Y-%m-%d"), "--to", "end"))
    assert.same(range(6, 10), of("--last", "330s"))
    assert.same({}, of("--last", "10s"))
    assert.same({}, of("--to", "1000"))
    assert.same({}, of("--stream", "none"))
    assert.same(range(1, 10), of("--stream", "ord?rs"))
  end)

  it("is fine with nothing to do: no stream, an empty one, all of it behind --to", function()
    local folder = engine.folder { rules = { ["each.lua"] = EACH } }
    local r = replay.run { folder = folder, server = server }
    assert.same({ "", "tidemill: there are no entries: the streams that rules read have none of that time\n" }, { r.out, r.err })
    server:call("XGROUP", "CREATE", "orders", "g", "0", "MKSTREAM")
    assert.equal("", replay.run({ folder = folder, server = server }).out)
    r = replay.run { folder = folder, server = server, arguments = { "--summary", "--json" } }
    assert.equal(0, r:json().events)
    r = replay.run { folder = folder, server = server, arguments = { "--summary" } }
    assert.matches("\n0 events and 0 timers and windows in ", r.out)
  end)

  it("says what of a stream is gone", function()
    engine.flood(server, "orders", 1000)
    server:call("XTRIM", "orders", "MINID", "1-301")
    local folder = engine.folder { rules = { ["each.lua"] = EACH } }
    local gone = "orders: 300 entries are gone (trimmed or deleted); what is left begins at 1-301"
    local r = replay.run { folder = folder, server = server }
    assert.same(range(301, 1000), numbers(r))
    assert.equal("tidemill: " .. gone .. "\n", r.err)
    assert.same({ gone }, replay.run({ folder = folder, server = server, arguments = { "--summary", "--json" } }):json().says)
    assert.equal("", replay.run({ folder = folder, server = server, arguments = { "--from", "1-301" } }).err)
    server:call("DEL", "orders")
    server:call("SET", "orders", "x")
    assert.equal("tidemill: orders is no stream and was left out\n", replay.run({ folder = folder, server = server }).err)
  end)

  it("comes to an end while the stream grows", function()
    engine.flood(server, "orders", 20000)
    local folder = engine.folder { settings = { batch_events = 10 }, rules = { ["each.lua"] = EACH } }
    local p = program.start(replay.words { folder = folder, server = server }, { stdout = folder .. "/out" })
    local n = 20000
    while p:is_running() do -- faster than it could follow, if it wanted to
      local commands = {}
      for k = 1, 500 do
        commands[k] = { "XADD", "orders", "1-" .. n + k, "data", engine.pack { n = n + k } }
      end
      server:pipeline(commands)
      n = n + 500
      assert.is_true(n < 5000000, "it does not end")
    end
    assert.equal(0, p:wait(1).code)
    local _, lines = files.read_file(folder .. "/out"):gsub("\n", "")
    assert.is_true(lines >= 20000 and lines < n)
  end)

  -- ── rules that fail ───────────────────────────────────────────────────────────────────────────────────────────────────

  it("names the rule and the entry when a rule does not come back", function()
    engine.flood(server, "orders", 100)
    local folder = engine.folder { settings = { limits = { hard_ms = 100 } }, rules = { ["each.lua"] = EACH,
      ["p.lua"] = engine.rule [[if event.n == 77 then return (("a"):rep(60)):find(("a*"):rep(30) .. "b") end]] } }
    for _, arguments in ipairs { {}, { "--summary" }, { "--against", folder .. "/rules" } } do
      local r = replay.run { folder = folder, server = server, code = 1, arguments = arguments }
      assert.matches("^tidemill: rule p, on 1%-77 of orders, ran longer than 100 ms of CPU without end %(limits.hard_ms%)", r.err)
    end
  end)

  it("names the rule and the entry when a rule takes the process down", function()
    engine.flood(server, "orders", 100)
    local folder = engine.folder { settings = { lease_ms = 120000, limits = { hard_ms = 30000, rule_ms = 30000 } },
      rules = { ["p.lua"] = engine.rule [[if event.n == 77 then ctx.log.warn "poisoned" while true do end end]] } }
    local log = folder .. "/log"
    local p = program.start(replay.words { folder = folder, server = server }, { stdout = folder .. "/out", stderr = log })
    wait.until_true(function() return (files.read_file(log) or ""):find "poisoned" end, 10, "the rule")
    tree.send(tree.children(p.pid)[1], "4") -- SIGILL
    assert.equal(1, p:wait(5).code)
    assert.matches("rule p, on 1%-77 of orders, took the process down: signal 4 ", files.read_file(log))
  end)

  it("goes on behind a rule that is over its time, as the engine does, and stops at one that says so", function()
    engine.flood(server, "orders", 100)
    local folder = engine.folder { rules = { ["each.lua"] = EACH, ["loop.lua"] = engine.rule [[while event.n == 50 do end]] } }
    local r = replay.run { folder = folder, server = server }
    assert.equal("time", r:letters()[1].reason)
    assert.same(range(1, 100), numbers(r))
    files.write_file(folder .. "/rules/loop.lua", engine.rule([[if event.n == 60 then error "no" end]],
      'stream = "orders", on_error = "stop"'))
    r = replay.run { folder = folder, server = server, code = 1 }
    assert.same(range(1, 59), numbers(r))
    assert.matches("^tidemill: stopped at 1%-60 of orders: rule loop: error: loop.lua:%d+: no\n", r.err)
  end)

  -- ── two versions ──────────────────────────────────────────────────────────────────────────────────────────────────────

  local PRICING = [[
    local percent = event.total >= LIMIT and 10 or 0
    ctx.state.n = (ctx.state.n or 0) + 1
    if percent > 0 then ctx.emit("offers", { user = ctx.key, percent = percent, price = event.total * (100 - percent) / 100 }) end
    if event.total == 13 then ctx.dead("bad luck") end
    EXTRA]]

  local function pricing(limit, extra)
    return engine.rule((PRICING:gsub("LIMIT", limit):gsub("EXTRA", extra or "")), 'stream = "orders", key = "user"')
  end

  local function two(old, new)
    local folder = engine.folder { rules = new }
    local against = engine.folder { rules = old }
    return folder, against .. "/rules"
  end

  it("finds no difference between the same rules, whatever the order of fields", function()
    engine.flood(server, "orders", 2000, function() return { user = "u" .. draw(20), total = draw(100) } end)
    local rule = pricing("50")
    local folder, against = two({ ["p.lua"] = rule, ["t.lua"] = timed.rule "t" }, { ["t.lua"] = timed.rule "t",
      ["p.lua"] = rule:gsub("user = ctx.key, percent = percent, price = ([^}]*) }", "price = %1, percent = percent, user = ctx.key }") })
    local r = replay.run { folder = folder, server = server, against = against, arguments = { "--json" } }
    local found = r:json()
    assert.is_true(found.same)
    assert.equal(0, found.rules[1].changed)
    assert.is_true(found.rules[1].same > 500)
    assert.are_not.equal(found.rules[1].old, found.rules[1].new)
    assert.equal(2000, found.rules[2].same)
    assert.equal(found.rules[2].old, found.rules[2].new)
    assert.matches(" no decision differs\n$", replay.run({ folder = folder, server = server, against = against }).out)
  end)

  it("counts what a changed rule decides differently, as an oracle does", function()
    local totals, users = {}, {}
    engine.flood(server, "orders", 3000, function(n)
      totals[n], users[n] = draw(100), "u" .. draw(20)
      return { user = users[n], total = totals[n] }
    end)
    local folder, against = two({ ["p.lua"] = pricing("50"), ["gone.lua"] = EACH },
      { ["p.lua"] = pricing("60"):gsub("or 0\n", "or 0\n    if event.total >= 90 then percent = 15 end\n"), ["fresh.lua"] = EACH })
    local same, changed, only_old, sum, price_sum, first = 0, 0, 0, 0, 0, nil
    for n, total in ipairs(totals) do
      if total >= 90 then
        changed, sum, price_sum, first = changed + 1, sum + 5, price_sum - total * 5 / 100, first or n
      elseif total >= 60 or total == 13 then
        same = same + 1
      elseif total >= 50 then
        only_old = only_old + 1
      end
    end
    local r = replay.run { folder = folder, server = server, against = against, code = 1, arguments = { "--json", "--samples", "2" } }
    local found = r:json()
    assert.is_false(found.same)
    assert.equal(3000, found.events)
    local by_name = {}
    for _, rule in ipairs(found.rules) do
      by_name[rule.rule] = rule
    end
    local p = by_name.p
    assert.same({ same, changed, 0, only_old, 0 }, { p.same, p.changed, p.only_new, p.only_old, p.reordered })
    assert.same({ 3000, 0 }, { by_name.fresh.only_new, by_name.fresh.only_old })
    assert.same({ 0, 3000 }, { by_name.gone.only_new, by_name.gone.only_old })
    assert.is_truthy(by_name.fresh.new)
    assert.equal(require("dkjson").null, by_name.fresh.old or require("dkjson").null)
    local fields = {}
    assert.same({ "emit", "offers", 0, only_old }, { p.outputs[1].what, p.outputs[1].name, p.outputs[1].only_new, p.outputs[1].only_old })
    assert.equal(2, #p.outputs[1].samples_old)
    for _, field in ipairs(p.outputs[1].fields) do
      fields[field.name] = field
    end
    assert.is_nil(fields.user)
    assert.same({ changed, changed, sum, 5, 5, 5 }, { fields.percent.changed, fields.percent.numbers, fields.percent.sum,
      fields.percent.mean, fields.percent.min, fields.percent.max })
    assert.is_true(math.abs(fields.price.sum - price_sum) < 1e-6)
    assert.equal(2, #fields.percent.samples)
    assert.same({ key = users[first], at = "orders 1-" .. first, old = "10", new = "15" }, fields.percent.samples[1])
    r = replay.run { folder = folder, server = server, against = against, code = 1 }
    assert.matches("\n  percent: " .. changed .. " changed, by %+5 in the mean, %+5 to %+5, %+" .. sum .. " in all\n", r.out)
    assert.matches(("\n    %s  orders 1%%-%d  10 %%-> 15\n"):format(users[first], first), r.out)
    assert.matches(", only in %-%-rules ", r.out)
    assert.matches(", only in %-%-against ", r.out)
  end)

  it("compares letters, commands, timers and windows, and tells an order of effects", function()
    local events = {}
    for n = 1, 200 do
      events[n] = { id = n * 10 .. "-0", { n = n, k = "k" .. n % 5 } }
    end
    engine.send(server, "orders", events)
    local rule = [[
      if event.n %% 10 == 0 then error "%s" end
      ctx.redis.hincrby("h", ctx.key, %d)
      ctx.timer.set("t" .. event.n, 25)
      if event.n %% 4 == 1 then %s end]]
    local head = [[stream = "orders", key = "k", on_timer = function(name, ctx) ctx.emit("fired", { name = name, by = %d }) end]]
    local folder, against = two({ ["r.lua"] = engine.rule(rule:format("old", 1, 'ctx.emit("a", {}) ctx.emit("b", {})'), head:format(1)) },
      { ["r.lua"] = "\n\n" .. engine.rule(rule:format("new", 1, 'ctx.emit("b", {}) ctx.emit("a", {})'), head:format(2)) })
    local found = replay.run({ folder = folder, server = server, against = against, code = 1, arguments = { "--json" } }):json()
    local r, outputs = found.rules[1], {}
    for _, output in ipairs(r.outputs) do
      outputs[output.what .. " " .. output.name] = output
    end
    -- 20 letters with another message, 50 reordered, 180 timers changed; 130 entries the same.
    assert.same({ 130, 250, 0, 0, 50 }, { r.same, r.changed, r.only_new, r.only_old, r.reordered })
    assert.equal(20, outputs["letter error"].fields[1].changed)
    assert.matches("^r.lua:%d+: old$", outputs["letter error"].fields[1].samples[1].old)
    assert.equal(180, outputs["emit fired"].fields[1].changed)
    assert.same({ key = "k1", at = "timer t1 35", old = "1", new = "2" }, outputs["emit fired"].fields[1].samples[1])
    assert.is_nil(outputs["command HINCRBY"])
  end)

  it("finds timers and windows again that come about at another place", function()
    local events = {}
    for n = 1, 100 do
      events[n] = { id = ("%.0f-0"):format(1e12 + n * 100), { k = "k" .. n % 3, amount = 1, at = 1e12 + n * 100 } }
    end
    engine.send(server, "orders", events)
    local early = windows.rule("w", "tumbling(1000)", 'time = "at"')
    local late = windows.rule("w", "tumbling(1000)", 'time = "at", lateness = 2500')
    local folder, against = two({ ["w.lua"] = early }, { ["w.lua"] = late })
    local found = replay.run({ folder = folder, server = server, against = against, arguments = { "--json" } }):json()
    assert.same({ 31, 0, 0, 0 }, { found.rules[1].same, found.rules[1].changed, found.rules[1].only_new, found.rules[1].only_old })
  end)

  it("tells whole numbers apart that doubles do not, and takes a decision of any size", function()
    server:call("XADD", "orders", "1-0", "data", '{"id":9007199254740993}')
    local rule = [[ctx.emit("out", { id = %s }) for i = 1, 9 do ctx.emit("big", { t = ("x"):rep(9e6) }) end]]
    local folder, against = two({ ["r.lua"] = engine.rule(rule:format "event.id") },
      { ["r.lua"] = engine.rule(rule:format [[require("tidemill").int64 "9007199254740992"]]) })
    files.write_file(folder .. "/settings.lua", "return { limits = { effect_kb = 100000, vm_mb = 1000, rule_ms = 5000, "
      .. "hard_ms = 10000 }, lease_ms = 60000 }")
    local found = replay.run({ folder = folder, server = server, against = against, arguments = { "--json" }, code = 1 }):json()
    assert.same({ 0, 1 }, { found.rules[1].same, found.rules[1].changed })
  end)

  it("says so when a stream is trimmed under one of the two, or a rule stops one", function()
    engine.flood(server, "orders", 2000)
    local slow = engine.rule [[if event.n == 1 then ctx.log.warn "poisoned" while true do end end]]
    local folder, against = two({ ["each.lua"] = EACH }, { ["each.lua"] = slow })
    files.write_file(folder .. "/settings.lua",
      "return { batch_events = 10, limits = { rule_ms = 1500, hard_ms = 10000 }, lease_ms = 60000 }")
    local log = folder .. "/log"
    local function connections() return tonumber(server:call("INFO", "stats"):match "total_connections_received:(%d+)") end
    local before = connections()
    replay.run { folder = folder, server = server, against = folder .. "/rules", arguments = { "--to", "1-1" } }
    local needed = connections() - before -- by any comparison
    before = connections()
    local words = replay.words { folder = folder, server = server, against = against }
    local p = program.start(words, { stdout = folder .. "/out", stderr = log })
    wait.until_true(function() return (files.read_file(log) or ""):find "poisoned" end, 10, "the slow rule")
    wait.until_true(function() -- the fast one has come and gone: left are the slow one and this spec
      local clients = tonumber(server:call("INFO", "clients"):match "connected_clients:(%d+)")
      return clients == 2 and connections() == before + needed
    end, 10, "the fast version")
    server:call("XTRIM", "orders", "MAXLEN", 500)
    assert.equal(1, p:wait(20).code)
    assert.matches("\ntidemill: orders was trimmed while it was read: the two versions have not had the same entries %(2000 and %d+%); "
      .. "begin later, with %-%-from or %-%-last\n$", "\n" .. files.read_file(log))
    files.write_file(folder .. "/rules/each.lua",
      engine.rule([[if event.n > 1800 then error "no" end]], 'stream = "orders", on_error = "stop"'))
    local r = replay.run { folder = folder, server = server, against = against, code = 1 }
    assert.matches("^tidemill: stopped at 1%-1801 of orders: rule each: error: ", r.err)
    assert.equal("", r.out)
  end)

  it("reads many streams of plain fields, json and msgpack, page by page", function()
    local commands, count = {}, 0
    for n = 1, 4000 do
      local s = draw(7)
      count = count + 1
      commands[n] = { "XADD", "s" .. s, ("%d-%d"):format(n, draw(3)), unpack(s < 3 and { "n", n, "k", "x" }
        or { "data", s < 5 and ('{"n":%d,"k":"x"}'):format(n) or engine.pack { n = n, k = "x" } }) }
    end
    server:pipeline(commands)
    live { settings = { batch_events = 100 }, rules = { ["each.lua"] = engine.rule([[
      ctx.state.n = (ctx.state.n or 0) + 1
      ctx.emit("out", { n = event.n, of = ctx.state.n, s = ctx.stream })]], 'stream = "s*", key = "k", event = { n = "number" }') } }
    local r = again()
    assert.equal(4000, #r:emitted "out")
    assert.same(e:emitted "out", r:emitted "out")
    e:stop(10)
  end)
end)
