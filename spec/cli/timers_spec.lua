local engine = require "spec.support.engine"
local files = require "spec.support.files"
local process = require "spec.support.process"
local program = require "spec.support.program"
local redis = require "spec.support.redis"
local wait = require "spec.support.wait"

local OURS, TAGGED = "tidemill:tidemill:", "tidemill:{3}:tidemill:"
local DUE = 1795362638669 -- 2026-11-22T15:50:38.669Z

-- A member as the engine writes it: the key with NUL as NUL FF, NUL, the name.
local function member(key, name)
  return key:gsub("%z", "\0\255") .. "\0" .. name
end

describe("tidemill timers", function()
  local server

  setup(function()
    server = redis.start()
  end)
  teardown(function()
    server:stop()
  end)
  before_each(function()
    server:call("FLUSHALL")
    server:call("HSET", OURS .. "ctl", "fence", "1:a", "commits", 7)
  end)

  local function timers(...)
    local code, out, err = program.run({ "timers", ... }, { env = { REDIS_URL = server:url() } })
    return out, code, err
  end

  local function set(rule, clock, due, key, name, payload, prefix)
    server:call("ZADD", (prefix or OURS) .. "timers:" .. rule .. ":" .. clock, due, member(key, name))
    if payload then
      server:call("HSET", (prefix or OURS) .. "timerdata:" .. rule, member(key, name), payload)
    end
  end

  local function count(rule, prefix)
    prefix = prefix or OURS
    return server:call("ZCARD", prefix .. "timers:" .. rule .. ":wall"),
      server:call("ZCARD", prefix .. "timers:" .. rule .. ":event"),
      server:call("HLEN", prefix .. "timerdata:" .. rule)
  end

  local function edits(prefix)
    return tonumber(server:call("HGET", (prefix or OURS) .. "ctl", "edits")) or 0
  end

  -- "rule key name" of each, in order.
  local function listed(...)
    local found = {}
    local out, code, err = timers("list", "--json", ...)
    assert.same({ 0, "" }, { code, err })
    for line in out:gmatch("[^\n]+") do
      found[#found + 1] = ("%s %s %s"):format(line:match('"rule":"(.-)","key":"(.-)","name":"(.-)"'))
    end
    return found
  end

  -- Many timers of one queue, with the dues that `due(i)` gives.
  local function fill(rule, clock, last, due)
    local commands = {}
    for i = 1, last do
      commands[i] = { "ZADD", OURS .. "timers:" .. rule .. ":" .. clock, due(i), member("k" .. i, "t") }
    end
    server:pipeline(commands)
  end

  describe("list", function()
    it("shows a table, the earliest first, and never what windows wait for", function()
      set("cart", "wall", DUE + 1, "u2", "remind", "\x82\xa1a\x05\xa1b\x92\x01\xc3")
      set("cart", "wall", DUE, "u1\0x\27", "remind")
      set("trip", "event", DUE + 60000, "", "end\nof")
      set("cart", "window", DUE - 5, "u9", "")
      server:call("HSET", OURS .. "ctl", "watermark:trip", DUE - 3600000)
      local out, code, err = timers "list"
      assert.same({ 0, "" }, { code, err })
      local lines = {}
      for line in out:gmatch("[^\n]+") do
        lines[#lines + 1] = line:gsub("%s%s+", "|")
      end
      assert.same({
        "RULE|KEY|NAME|CLOCK|DUE|FROM NOW|PAYLOAD",
        "cart|u1\\x00x\\x1b|remind|wall|2026-11-22T15:50:38.669Z|" .. lines[2]:match("Z|(.-)|") .. "|-",
        'cart|u2|remind|wall|2026-11-22T15:50:38.670Z|' .. lines[3]:match("Z|(.-)|") .. '|{"a":5,"b":[1,true]}',
        "trip|-|end|event|2026-11-22T15:51:38.669Z|in 1h 1m|-",
      }, lines)
    end)

    it("says how far due times are, from TIME or the watermark", function()
      local time = server:call "TIME"
      local now = time[1] * 1000
      for name, distance in pairs { a = -3 * 86400000 - 7300000, b = 90061000, c = 3599000 } do
        set("cart", "wall", now + distance, "k", name)
      end
      for name, distance in pairs { d = 250, e = -61000, f = 0, g = 86400000 } do
        set("trip", "event", DUE + distance, "k", name)
      end
      set("lone", "event", DUE, "k", "h")
      server:call("HSET", OURS .. "ctl", "watermark:trip", DUE)
      local out = timers "list"
      local want = { a = "3d 2h ago", b = "in 1d 1h", c = "in 59m %d+s", d = "in 250ms", e = "1m 1s ago", f = "in 0ms",
        g = "in 1d", h = "%-" }
      for name, text in pairs(want) do
        assert.matches(" k +" .. name .. " +%l+ +[%d:TZ.-]+ +" .. text .. " +%-\n", out)
      end
    end)

    it("prints one JSON object a line", function()
      set("cart", "wall", DUE, "u1", "remind", "\x81\xa1a\xc0")
      set("cart", "event", DUE + 0.5, "u\"\0", "x", "\xc1junk")
      local out = timers("list", "--json")
      assert.equal('{"rule":"cart","key":"u1","name":"remind","clock":"wall","due":1795362638669,"partition":null,'
        .. '"payload":{"a":null}}\n{"rule":"cart","key":"u\\"\\u0000","name":"x","clock":"event","due":1795362638670,'
        .. '"partition":null,"payload":"\\\\xc1junk"}\n', out)
    end)

    it("selects by rule, key and name, exactly", function()
      for i, key in ipairs { "u1", "u10", "u*", "u[1]", "u\\1", "x", "" } do
        set("cart", i % 2 == 0 and "wall" or "event", DUE + i, key, "remind")
        set("cart", i % 2 == 0 and "event" or "wall", DUE + 10 + i, key, "a.remind")
        set("trip", "wall", DUE + 20 + i, key, "remind")
      end
      server:call("ZADD", OURS .. "timers:cart:wall", DUE, "u1\0\255\0remind") -- of key u1 NUL
      assert.equal(22, #listed())
      assert.equal(15, #listed("--rule", "cart"))
      assert.same({}, listed("--rule", "gone"))
      assert.same({ "cart u1 remind", "cart u1 a.remind", "trip u1 remind" }, listed("--key", "u1"))
      assert.same({ "cart u* remind", "cart u* a.remind" }, listed("--rule", "cart", "--key", "u*"))
      assert.same({ "cart u[1] remind", "cart u[1] a.remind" }, listed("--rule", "cart", "--key", "u[1]"))
      assert.same({ "trip u\\\\1 remind" }, listed("--rule", "trip", "--key", "u\\1"))
      assert.same({ "cart  remind", "cart  a.remind" }, listed("--rule", "cart", "--key", ""))
      assert.same({ "cart u1 a.remind" }, listed("--rule", "cart", "--key", "u1", "--name", "a.remind"))
      assert.same({ "cart u1 remind", "trip u1 remind" }, listed("--key", "u1", "--name", "remind"))
      assert.equal(8, #listed("--rule", "cart", "--name", "remind"))
      assert.equal(7, #listed("--name", "a.remind"))
      assert.same({}, listed("--name", "a*"))
      assert.same({ "cart u1 a.remind" }, listed("--name", "a.remind", "--count", "1"))
    end)

    it("merges many queues, page by page", function()
      local want, n = {}, 0
      for r, rule in ipairs { "a", "b", "c" } do
        fill(rule, r == 2 and "event" or "wall", 1500, function(i) return DUE + i * 3 + r end)
      end
      for i = 1, 1500 do
        for _, rule in ipairs { "a", "b", "c" } do
          n = n + 1
          want[n] = ("%s k%d t"):format(rule, i)
        end
      end
      assert.same(want, listed("--count", "0"))
      assert.same({ unpack(want, 1, 100) }, listed())
      assert.same({ unpack(want, 1, 1001) }, listed("--count", "1001"))
      local out = timers("list", "--count", "0")
      assert.equal(4501, select(2, out:gsub("\n", "")))
      assert.equal(1, select(2, out:gsub("RULE", "")))
      local width
      for due in out:gmatch("\n()[^\n]-2026%-") do
        local line = out:match("[^\n]+", due)
        width = width or line:find "2026"
        assert.is_true(line:find "2026" >= width)
      end
    end)

    it("tells ties in the order of the engine: rule, then key and name", function()
      fill("b", "wall", 3000, function() return DUE end)
      set("a", "wall", DUE, "zz", "t")
      local all = listed("--count", "0")
      assert.equal("a zz t", all[1])
      local want = {}
      for i = 1, 3000 do
        want[i] = "k" .. i
      end
      table.sort(want)
      for i = 1, 3000 do
        assert.equal("b " .. want[i] .. " t", all[i + 1])
      end
    end)

    it("tells nothing twice and misses nothing that stays, whatever fires meanwhile", function()
      fill("cart", "wall", 20000, function(i) return DUE + math.floor(i / 7) end)
      local list = program.start({ "timers", "list", "--count", "0", "--json" },
        { env = { REDIS_URL = server:url() }, stdout = files.temp_folder() .. "/list" })
      local gone = 0
      while list:is_running() and gone < 9000 do -- the earliest go, as when they fire; every 3rd is set anew, far ahead
        local commands, queue = {}, OURS .. "timers:cart:wall"
        for i = gone + 1, gone + 50 do
          commands[#commands + 1] = i % 3 == 0 and { "ZADD", queue, DUE + 10 ^ 7 + i, member("k" .. i, "t") }
            or { "ZREM", queue, member("k" .. i, "t") }
        end
        server:pipeline(commands)
        gone = gone + 50
      end
      list:expect(0, 20)
      local out = list:stdout()
      local seen, last = {}, 0
      for key, due in out:gmatch('"key":"(.-)".-"due":(%d+)') do
        local at = key .. " " .. due
        assert.is_nil(seen[at], at)
        seen[at] = true
        assert.is_true(tonumber(due) >= last)
        last = tonumber(due)
      end
      for i = 9001, 20000 do
        assert.is_true(seen[("k%d %d"):format(i, DUE + math.floor(i / 7))], i)
      end
    end)

    it("shows every partition, or one by --tag", function()
      server:call("HSET", TAGGED .. "ctl", "fence", "1:a")
      set("cart", "wall", DUE, "u1", "remind", nil, TAGGED)
      set("cart", "wall", DUE + 1, "u2", "remind")
      assert.matches("^PARTITION  RULE .-\n3 .- u1 .-\n%- .- u2 ", (timers "list"))
      assert.matches('"key":"u1".-"partition":"3",', (timers("list", "--json")))
      assert.same({ "cart u1 remind" }, listed("--tag", "3"))
      assert.same({ "cart u2 remind" }, listed("--tag", ""))
      assert.same({ "cart u2 remind" }, listed("--tag", "", "--rule", "cart"))
    end)

    it("looks at no other group's timers, and at nothing that only looks like one", function()
      for _, key in ipairs { "tidemill:other:timers:cart:wall", "tidemill:x:tidemill:timers:cart:wall",
        OURS .. "timers:cart:walls", OURS .. "timers:a:b:wall", OURS .. "timers::wall", OURS .. "xtimers:cart:wall",
        OURS .. "timers:" .. ("r"):rep(65) .. ":wall" } do
        server:call("ZADD", key, DUE, member("k", "t"))
      end
      assert.same({}, listed())
    end)

    it("says what is no timer and goes on", function()
      set("cart", "wall", DUE, "u1", "remind")
      server:call("ZADD", OURS .. "timers:cart:wall", DUE - 1, "stranger", "inf", member("k", "t"))
      local out, code, err = timers("list", "--json")
      assert.equal(1, code)
      assert.equal("tidemill: tidemill:tidemill:timers:cart:wall holds something that is no timer\n", err)
      assert.matches('^[^\n]-"key":"u1"[^\n]+\n$', out)
      server:call("SET", OURS .. "timers:trip:event", "x")
      for _, words in ipairs { {}, { "--key", "k" }, { "--key", "k", "--name", "t" } } do
        out, code, err = timers("list", "--rule", "trip", unpack(words))
        assert.same({ "", 1 }, { out, code })
        assert.matches("cannot read tidemill:tidemill:timers:trip:event: Redis says WRONGTYPE", err, 1, true)
      end
    end)
  end)

  describe("drop", function()
    it("takes all of a rule in one edit, however many, also of a rule that is gone", function()
      fill("cart", "wall", 30000, function(i) return DUE + i end)
      set("cart", "event", DUE, "u1", "x", "\x01")
      set("cart", "window", DUE, "u1", "")
      set("trip", "wall", DUE, "u1", "x", "\x01")
      assert.same({ "30001 timers dropped\n", 0, "" }, { timers("drop", "--rule", "cart") })
      assert.same({ 0, 0, 0 }, { count "cart" })
      assert.same({ 1, 0, 1 }, { count "trip" })
      assert.equal(1, server:call("ZCARD", OURS .. "timers:cart:window"))
      assert.equal(1, edits())
      assert.same({ "0 timers dropped\n", 0, "" }, { timers("drop", "--rule", "cart") })
      assert.equal(1, edits())
      assert.equal("7", server:call("HGET", OURS .. "ctl", "commits"))
    end)

    it("takes those of a key or name, with their payloads", function()
      for i = 1, 300 do
        set("cart", "wall", DUE + i, "u" .. i, "remind", "\x01")
        set("cart", "event", DUE + i, "u" .. i, "last", "\x02")
      end
      set("trip", "wall", DUE, "u1", "remind", "\x03")
      assert.same({ "1 timer dropped\n", 0, "" }, { timers("drop", "--rule", "cart", "--key", "u7", "--name", "remind") })
      assert.is_nil(server:call("ZSCORE", OURS .. "timers:cart:wall", member("u7", "remind")))
      assert.same({ 299, 300, 599 }, { count "cart" })
      assert.same({ "3 timers dropped\n", 0, "" }, { timers("drop", "--key", "u1") })
      assert.same({ 298, 299, 597 }, { count "cart" })
      assert.same({ 0, 0, 0 }, { count "trip" })
      assert.same({ "299 timers dropped\n", 0, "" }, { timers("drop", "--name", "last") })
      assert.same({ 298, 0, 298 }, { count "cart" })
      assert.same({ "0 timers dropped\n", 0, "" }, { timers("drop", "--name", "las?") })
    end)

    it("goes in bundles, at most ten transactions a second", function()
      fill("cart", "wall", 7000, function(i) return DUE + i end)
      local began = wait.now()
      assert.same({ "7000 timers dropped\n", 0, "" }, { timers("drop", "--rule", "cart", "--name", "t") })
      local took = wait.now() - began
      assert.same({ 0, 0, 0 }, { count "cart" })
      assert.is_true(edits() >= 4 and edits() <= 7, edits())
      assert.is_true(took >= (edits() - 1) * 0.1, took)
    end)

    it("takes a timer from whichever clock it has by then", function()
      set("cart", "wall", DUE, "u1", "x", "\x01")
      set("cart", "event", DUE, "u1", "x", "\x01")
      assert.same({ "2 timers dropped\n", 0, "" }, { timers("drop", "--key", "u1") })
      assert.same({ 0, 0, 0 }, { count "cart" })
    end)

    it("works in every partition, or in one", function()
      server:call("HSET", TAGGED .. "ctl", "fence", "1:a")
      for _, rule in ipairs { "cart", "trip" } do
        set(rule, "wall", DUE, "u1", "x", "\x01", TAGGED)
        set(rule, "event", DUE, "u1", "x")
      end
      assert.same({ "1 timer dropped\n", 0, "" }, { timers("drop", "--rule", "cart", "--tag", "3") })
      assert.same({ 0, 0, 0 }, { count("cart", TAGGED) })
      assert.same({ 0, 1, 0 }, { count "cart" })
      assert.same({ 1, 0 }, { edits(TAGGED), edits() })
      assert.same({ "3 timers dropped\n", 0, "" }, { timers("drop", "--yes") })
      assert.same({ 2, 1 }, { edits(TAGGED), edits() })
      assert.same({}, listed())
    end)

    it("refuses what is no queue, and touches nothing of it", function()
      server:call("SET", OURS .. "timers:cart:event", "x")
      set("cart", "wall", DUE, "u1", "x")
      local out, code, err = timers("drop", "--rule", "cart")
      assert.same({ "", 1 }, { out, code })
      assert.matches("cannot read tidemill:tidemill:timers:cart:event: Redis says WRONGTYPE", err, 1, true)
      assert.equal(1, server:call("ZCARD", OURS .. "timers:cart:wall"))
      assert.equal(0, edits())
    end)

    it("gets between the commits of a busy owner", function()
      fill("cart", "wall", 12000, function(i) return DUE + i end)
      local busy = process.start { "redis-cli", "-s", server.socket, "-r", "100000000", "HINCRBY",
        OURS .. "ctl", "commits", "1" }
      wait.until_true(function()
        return tonumber(server:call("HGET", OURS .. "ctl", "commits")) > 100
      end)
      local out, code, err = timers("drop", "--name", "t")
      local other = { timers("drop", "--rule", "cart") }
      busy:kill()
      assert.same({ "12000 timers dropped\n", 0, "" }, { out, code, err })
      assert.same({ "0 timers dropped\n", 0, "" }, other)
    end)

    it("never makes a ctl", function()
      server:call("FLUSHALL")
      assert.equal(1, select(2, timers("drop", "--rule", "cart")))
      assert.equal(1, select(2, timers("drop", "--key", "u1", "--tag", "3")))
      assert.equal(0, server:call("DBSIZE"))
    end)
  end)

  describe("beside a running engine", function()
    -- Timers ten seconds of event time ahead; `ask` looks whether one is pending.
    local RULE = [[
local tidemill = require "tidemill"
return tidemill.rule {
  stream = "orders", key = "k", time = "ts", clock = "event", idle = "1d",
  on_event = function(event, ctx)
    if event.ask then
      ctx.redis.rpush("asked", tostring(ctx.timer.get("remind") or "none"))
    else
      ctx.timer.set("remind", "10s", { n = event.n })
    end
  end,
  on_timer = function(name, ctx) ctx.redis.rpush("fired", ctx.key .. " " .. ctx.payload.n) end,
}]]
    local T = 1795362630000
    local e, n, last

    before_each(function()
      server:call("FLUSHALL")
      e, n = engine.start { server = server, group = "tidemill", rules = { ["cart.lua"] = RULE } }, 0
    end)
    after_each(function() e:kill() end)

    local function send(key, ms, ask)
      n = n + 1
      last = server:call("XADD", "orders", "*", "data", engine.pack { k = key, ts = T + ms, n = n, ask = ask })
    end

    local function done()
      e:wait_position("orders", last)
      e:wait_done()
    end

    it("lists what rules have set, and what is dropped does not fire", function()
      send("a", 0) send("b", 1) send("c", 2) send("d", 3)
      done()
      assert.same({ "cart a remind", "cart b remind", "cart c remind", "cart d remind" }, listed())
      assert.matches('"key":"b","name":"remind","clock":"event","due":1795362640001,"partition":null,"payload":{"n":2}}',
        (timers("list", "--json", "--key", "b")), 1, true)
      assert.matches(" b +remind +event +2026%-11%-22T15:50:40.001Z +in 9s +{", (timers("list", "--key", "b")))
      assert.same({ "1 timer dropped\n", 0, "" }, { timers("drop", "--key", "b") })
      assert.same({ "1 timer dropped\n", 0, "" }, { timers("drop", "--rule", "cart", "--key", "c", "--name", "remind") })
      send("b", 3, true) send("a", 3, true) send("c", 4)
      done()
      assert.same({ "none", tostring(T + 10000) }, server:call("LRANGE", "asked", 0, -1))
      send("z", 20000)
      done()
      assert.same({ "a 1", "d 4", "c 7" }, server:call("LRANGE", "fired", 0, -1))
      assert.same({ "cart z remind" }, listed())
      assert.same({ "1 timer dropped\n", 0, "" }, { timers("drop", "--rule", "cart") })
      send("z", 40000, true)
      done()
      assert.equal("none", server:call("LINDEX", "asked", -1))
      assert.equal(3, server:call("LLEN", "fired"))
      assert.equal(0, server:call("EXISTS", e:key "timers:cart:event", e:key "timerdata:cart"))
      e:stop()
    end)

    it("has those of a rule that is gone until they are dropped", function()
      send("a", 0) send("b", 1)
      done()
      files.write_file(e.folder .. "/rules/other.lua", engine.rule "")
      e:wait_true(function() return e:status().rules[2] end)
      os.remove(e.folder .. "/rules/cart.lua")
      e:wait_true(function() return not e:status().rules[2] end)
      send("a", 60000)
      done()
      assert.same({ "cart a remind", "cart b remind" }, listed())
      assert.same({ "2 timers dropped\n", 0, "" }, { timers("drop", "--rule", "cart") })
      assert.same({}, listed())
      assert.equal(0, server:call("EXISTS", "fired"))
    end)

    it("drops while timers are set and fire", function()
      local commands = {}
      for i = 1, 20000 do
        commands[i] = { "XADD", "orders", "*", "data", engine.pack { k = "k" .. i % 5000, ts = T + i, n = i } }
      end
      local ids = server:pipeline(commands)
      last = ids[#ids]
      for i = 1, 20 do
        local _, code, err = timers("drop", "--rule", "cart", "--key", "k" .. i)
        assert.same({ 0, "" }, { code, err })
      end
      done()
      n = 20000
      send("z", 100000)
      done()
      local seen = {}
      for _, text in ipairs(server:call("LRANGE", "fired", 0, -1)) do
        assert.is_nil(seen[text], text)
        seen[text] = true
      end
      for i = 15001, 20000 do -- the last of each key; those that were dropped may be set again behind the drop
        local key = i % 5000
        assert.is_true(seen[("k%d %d"):format(key, i)] or key >= 1 and key <= 20, i)
      end
      assert.same({ "cart z remind" }, listed())
    end)
  end)

  it("refuses words that make no sense", function()
    for _, case in ipairs {
      { { "lst" }, "timers has no lst; did you mean list?" },
      { { "frobnicate" }, "timers has no frobnicate; it knows list and drop" },
      { { "list", "cart" }, 'timers list does not know what to do with "cart"; a rule is named by --rule' },
      { { "drop" }, "add --rule, --key, --name or --yes" },
      { { "drop", "--rule", "a/b" }, "a/b is no name of a rule" },
      { { "list", "--rule", "" }, "must not be empty" },
      { { "list", "--count", "-1" }, "--count must be" },
    } do
      local out, code, err = timers(unpack(case[1]))
      assert.same({ "", 2 }, { out, code })
      assert.is_truthy(err:find(case[2], 1, true), err)
    end
  end)
end)
