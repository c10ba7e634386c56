-- Letters that are retried, and states that the shell changes, beside a running owner (issue 2, part 6).
local engine = require "spec.support.engine"
local files = require "spec.support.files"
local program = require "spec.support.program"
local proxy = require "spec.support.proxy"
local redis = require "spec.support.redis"

-- Fails on events with n in `bad`, a list that the rule looks up.
local RULE = engine.rule([[
    if ctx.redis.sismember("bad", event.n) == 1 then error("bad " .. event.n) end
    ctx.state.n = (ctx.state.n or 0) + 1
    ctx.state.last = event.n
    ctx.redis.rpush("done", event.n)]], 'stream = "orders", key = "k"')
local WITNESS = engine.rule [[ctx.redis.rpush("witness", event.n)]]

-- A timer 5 ms after each event, and windows of 10 s; both fail while there is a key `bad`.
local TIMED = [[
local tidemill = require "tidemill"
return tidemill.rule {
  stream = "orders", key = "k",
  on_event = function(event, ctx) ctx.timer.set("t" .. event.n, 5, { n = event.n }) end,
  on_timer = function(name, ctx)
    if ctx.redis.exists("bad") == 1 then error("bad " .. name) end
    ctx.state.fired = (ctx.state.fired or 0) + 1
    ctx.redis.rpush("done", ("%s %s %d %d"):format(name, ctx.key, ctx.payload.n, ctx.now))
  end,
}]]
local WINDOWED = [[
local tidemill = require "tidemill"
return tidemill.rule {
  stream = "orders", key = "k", window = tidemill.window.tumbling("10s"),
  on_event = function(event, ctx) ctx.window.n = (ctx.window.n or 0) + event.n end,
  on_window = function(span, ctx)
    if ctx.redis.exists("bad") == 1 then error("bad window") end
    ctx.redis.rpush("done", ("%d-%d %s %d %d"):format(span.start, span.stop, ctx.key, ctx.window.n, ctx.now))
  end,
}]]

describe("a retry", function()
  local server, front, e

  before_each(function() server = redis.start() end)

  after_each(function() e, front = engine.clear(server, e, front) end)

  local function start(options)
    options = options or {}
    options.server, options.rules = server, options.rules or { ["rule.lua"] = RULE, ["witness.lua"] = WITNESS }
    e = engine.start(options)
    return e
  end

  local function feed(last, first)
    for n = first or 1, last do
      server:call("XADD", "orders", "1-" .. n, "data", engine.pack { n = n, k = "a" })
    end
    if e then
      e:wait_position("orders", "1-" .. last)
      e:wait_done()
    end
  end

  local function tidemill(...)
    local words = { ... }
    words[#words + 1], words[#words + 2], words[#words + 3], words[#words + 4] = "--group", "g", "--redis", server:url()
    local code, out, err = program.run(words)
    assert.same({ 0, "" }, { code, err }, out)
    return out
  end

  local function retried()
    e:wait_equal(0, function() return server:call("XLEN", e:key "inbox") end, 5, "the letters in the inbox")
    e:wait_done()
  end

  it("gives the event to its rule alone, once, in order", function()
    server:call("SADD", "bad", 2, 3)
    start()
    feed(4)
    assert.same({ "1", "4" }, server:call("LRANGE", "done", 0, -1))
    server:call("DEL", "bad")
    assert.equal("2 letters handed back to be retried\n", tidemill("dlq", "retry", "--all"))
    retried()
    assert.same({}, e:letters())
    assert.same({ "1", "4", "2", "3" }, server:call("LRANGE", "done", 0, -1))
    assert.same({ "1", "2", "3", "4" }, server:call("LRANGE", "witness", 0, -1))
    assert.same({ n = 4, last = 3 }, e:state("rule", "a"))
    assert.equal("1-4", e:position "orders")
    assert.equal(4, e:group_info("orders")["entries-read"])
    feed(5, 5)
    assert.same({ n = 5, last = 5 }, e:state("rule", "a"))
  end)

  it("that fails again makes a new letter that counts attempts", function()
    server:call("SADD", "bad", 1)
    start()
    feed(1)
    local first = e:letters()[1]
    assert.equal("1", first.attempts)
    for attempts = 2, 4 do
      tidemill("dlq", "retry", e:letters()[1].letter)
      retried()
      local letters = e:letters()
      assert.equal(1, #letters)
      local letter = letters[1]
      assert.not_equal(first.letter, letter.letter)
      assert.equal(tostring(attempts), letter.attempts)
      for _, name in ipairs { "stream", "id", "rule", "version", "reason", "message", "traceback", "key", "payload", "raw" } do
        assert.equal(first[name], letter[name], name)
      end
    end
    assert.same({ "1" }, server:call("LRANGE", "witness", 0, -1))
    server:call("DEL", "bad")
    tidemill("dlq", "retry", "--all")
    retried()
    assert.same({}, e:letters())
    assert.same({ n = 1, last = 1 }, e:state("rule", "a"))
  end)

  it("of an entry that could not be decoded runs all its rules", function()
    local deep = engine.pack { n = 7, k = "a", list = { { { 1 } } } }
    server:call("XADD", "orders", "1-1", "data", deep)
    start { settings = { limits = { event_depth = 3 } } }
    e:wait_position("orders", "1-1")
    e:wait_done()
    assert.equal("decode", e:letters()[1].reason)
    -- Still too deep:
    tidemill("dlq", "retry", "--all")
    retried()
    assert.same({ "decode", "2", "" }, { e:letters()[1].reason, e:letters()[1].attempts, e:letters()[1].rule })
    assert.equal(deep, e:letters()[1].event[2])
    e:stop()
    files.write_file(e.folder .. "/settings.lua", "return {}")
    e = e:another()
    e:wait_owner()
    tidemill("dlq", "retry", "--all")
    retried()
    assert.same({}, e:letters())
    assert.same({ "7" }, server:call("LRANGE", "witness", 0, -1))
    assert.same({ n = 1, last = 7 }, e:state("rule", "a"))
  end)

  it("of an entry that was too far ahead runs it", function()
    local ahead = ("%.0f-1"):format(server:call("TIME")[1] * 1000 + 7200000)
    server:call("XADD", "orders", ahead, "data", engine.pack { n = 7, k = "a" })
    start()
    e:wait_position("orders", ahead)
    e:wait_done()
    assert.equal("future", e:letters()[1].reason)
    tidemill("dlq", "retry", "--all")
    retried()
    assert.same({}, e:letters())
    assert.same({ n = 1, last = 7 }, e:state("rule", "a"))
    assert.same({ "7" }, server:call("LRANGE", "witness", 0, -1))
  end)

  it("of an entry that was too large says that it was not kept", function()
    server:call("XADD", "orders", "1-1", "data", engine.pack { n = 1, text = ("x"):rep(3000) })
    start { settings = { limits = { event_kb = 2 } } }
    e:wait_position("orders", "1-1")
    e:wait_done()
    tidemill("dlq", "retry", "--all")
    retried()
    local letters = e:letters()
    assert.equal(1, #letters)
    assert.same({ "decode", "2", "1-1", "" }, { letters[1].reason, letters[1].attempts, letters[1].id, letters[1].event })
    assert.matches("the raw event was not kept", letters[1].message)
  end)

  ---- timers and windows ----

  local function wait_letters(count)
    e:wait_equal(count, function() return #e:letters() end, 5, "the dead letters")
    return e:letters()
  end

  for _, case in ipairs {
    { kind = "timer", rule = TIMED, name = "t7", id = "1005", payload = { n = 7 }, done = "t7 a 7 1005", message = "bad t7" },
    { kind = "window", rule = WINDOWED, name = "0-10000", id = "10000", payload = { n = 7 }, done = "0-10000 a 7 10000",
      message = "bad window" },
  } do
    it("of a " .. case.kind .. " fires it once more, for its rule alone", function()
      server:call("SET", "bad", 1)
      start { rules = { ["rule.lua"] = case.rule, ["witness.lua"] = WITNESS } }
      server:call("XADD", "orders", "1000-1", "data", engine.pack { n = 7, k = "a" })
      local first = wait_letters(1)[1]
      assert.same({ "", "", case.name, case.id, "a", "rule", "error", "1" }, { first.event, first.stream, first[case.kind],
        first.id, first.key, first.rule, first.reason, first.attempts })
      assert.same(case.payload, engine.unpack(first.payload))
      assert.matches(case.message, first.message, 1, true)
      -- Fails again:
      tidemill("dlq", "retry", "--all")
      retried()
      local again = wait_letters(1)[1]
      assert.equal("2", again.attempts)
      for _, name in ipairs { "event", "stream", "id", case.kind, "rule", "version", "reason", "message", "traceback", "key",
        "payload" } do
        assert.equal(first[name], again[name], name)
      end
      -- Waits for its rule, if that is gone:
      files.write_file(e.folder .. "/rules/rule.lua", engine.rule("", 'name = "other", stream = "orders"'))
      e:wait_true(function() return e:status().rules[1].name == "other" end)
      tidemill("dlq", "retry", again.letter)
      retried()
      local gone = wait_letters(1)[1]
      assert.same({ case.name, case.id, first.payload, "3" }, { gone[case.kind], gone.id, gone.payload, gone.attempts })
      assert.matches("no rule named 'rule' is loaded", gone.message)
      -- Mended:
      files.write_file(e.folder .. "/rules/rule.lua", case.rule)
      e:wait_true(function() return e:status().rules[1].name == "rule" end)
      server:call("DEL", "bad")
      tidemill("dlq", "retry", "--all")
      retried()
      assert.same({}, e:letters())
      assert.same({ case.done }, server:call("LRANGE", "done", 0, -1))
      assert.same({ "7" }, server:call("LRANGE", "witness", 0, -1))
      assert.equal("1000-1", e:position "orders")
      e:stop()
    end)

    it("of a " .. case.kind .. " is done once, whatever breaks in between", function()
      front = proxy.start(server)
      server:call("SET", "bad", 1)
      start { url = front:url(), rules = { ["rule.lua"] = case.rule } }
      for n = 1, 20 do
        server:call("XADD", "orders", ("%d-1"):format(n * 10000), "data", engine.pack { n = n, k = "a" })
      end
      wait_letters(20)
      server:call("DEL", "bad")
      for _ = 1, 3 do
        front:swallow { with = "XDEL" }
        assert.equal(0, (program.run { "dlq", "retry", "--all", "--group", "g", "--redis", server:url() }))
        front:cut()
        retried()
        front:disarm()
      end
      local done, count = server:call("LRANGE", "done", 0, -1), {}
      for _, text in ipairs(done) do
        assert.is_nil(count[text], text)
        count[text] = true
      end
      assert.equal(20, #done)
    end)
  end

  it("of a timer or window that its rule no longer knows is kept as a letter", function()
    server:call("SET", "bad", 1)
    start { rules = { ["a.lua"] = TIMED, ["b.lua"] = WINDOWED } }
    server:call("XADD", "orders", "1000-1", "data", engine.pack { n = 7, k = "a" })
    local first = wait_letters(2)
    files.write_file(e.folder .. "/rules/a.lua", RULE)
    files.write_file(e.folder .. "/rules/b.lua", TIMED)
    e:wait_true(function()
      local rules = e:status().rules
      for _, letter in ipairs(first) do
        if letter.version == rules[letter.rule == "a" and 1 or 2].version then return false end
      end
      return true
    end)
    tidemill("dlq", "retry", "--all")
    retried()
    for i, letter in ipairs(wait_letters(2)) do
      assert.same({ "error", "2", first[i].timer, first[i].window, first[i].id, first[i].payload },
        { letter.reason, letter.attempts, letter.timer, letter.window, letter.id, letter.payload })
      assert.equal(("cannot be tried again: rule %s has no %s any more"):format(letter.rule,
        letter.timer and "on_timer" or "window"), letter.message)
    end
  end)

  it("of a timer or window takes whatever stands in the inbox", function()
    local timed = 'stream = "orders", on_timer = function(name, ctx) ctx.redis.rpush("done", type(ctx.payload)) end'
    start { rules = { ["a.lua"] = engine.rule("", timed), ["b.lua"] = WINDOWED } }
    feed(1)
    for _, payload in ipairs { "", "\xc1", "\x05", "\x81\xa1n", "\xc0", "\x81\xa1n\x01" } do
      server:call("XADD", e:key "inbox", "*", "rule", "a", "timer", "t", "id", "5", "payload", payload)
      server:call("XADD", e:key "inbox", "*", "rule", "b", "window", "w", "id", "7", "payload", payload)
    end
    retried()
    assert.same({ "0-10000 a 1 10000", "nil", "nil", "number", "nil", "nil", "table", "7-7  1 7" },
      server:call("LRANGE", "done", 0, -1))
    local letters = e:letters()
    assert.equal(5, #letters)
    for _, letter in ipairs(letters) do
      assert.same({ "b", "w", "7", "2" }, { letter.rule, letter.window, letter.id, letter.attempts })
      assert.matches("^b.lua:7: ", letter.message)
    end
  end)

  it("of a rule that is gone says so, and keeps the event for later", function()
    server:call("SADD", "bad", 1)
    start()
    feed(1)
    local raw = e:letters()[1].raw
    e:stop()
    local text = files.read_file(e.folder .. "/rules/rule.lua")
    os.remove(e.folder .. "/rules/rule.lua")
    e = e:another()
    e:wait_owner()
    tidemill("dlq", "retry", "--all")
    retried()
    local letter = e:letters()[1]
    assert.same({ "rule", "error", "2", raw }, { letter.rule, letter.reason, letter.attempts, letter.raw })
    assert.matches("no rule named 'rule' is loaded", letter.message)
    e:stop()
    files.write_file(e.folder .. "/rules/rule.lua", text)
    server:call("DEL", "bad")
    e = e:another()
    e:wait_owner()
    tidemill("dlq", "retry", "--all")
    retried()
    assert.same({}, e:letters())
    assert.same({ n = 1, last = 1 }, e:state("rule", "a"))
  end)

  it("waits for an owner when there is none", function()
    server:call("SADD", "bad", 1)
    start()
    feed(1)
    e:stop()
    server:call("DEL", "bad")
    tidemill("dlq", "retry", "--all")
    assert.equal(1, server:call("XLEN", e:key "inbox"))
    e = e:another()
    retried()
    assert.same({}, e:letters())
    assert.same({ "1" }, server:call("LRANGE", "done", 0, -1))
  end)

  it("is done once, whatever breaks in between", function()
    front = proxy.start(server)
    server:call("SADD", "bad", unpack((function() local l = {} for n = 1, 50 do l[n] = n end return l end)()))
    start { url = front:url() }
    feed(60)
    assert.equal(50, #e:letters())
    server:call("DEL", "bad")
    for round = 1, 3 do
      front:swallow { with = "XDEL" }
      -- With letters unverified among them, which it leaves and tells.
      assert.equal(0, (program.run { "dlq", "retry", "--all", "--group", "g", "--redis", server:url() }))
      front:cut()
      feed(60 + round, 60 + round)
      retried()
      front:disarm()
    end
    local done, expected = server:call("LRANGE", "done", 0, -1), {}
    for n = 51, 60 do
      expected[#expected + 1] = tostring(n)
    end
    assert.same(expected, { unpack(done, 1, 10) })
    local count = {}
    for _, n in ipairs(done) do
      count[n] = (count[n] or 0) + 1
      assert.equal(1, count[n], "event " .. n)
    end
    assert.equal(63, #done)
  end)

  it("goes on beside a busy owner", function()
    server:call("SADD", "bad", 1, 2, 3)
    start { settings = { batch_events = 20 } }
    feed(3)
    server:call("DEL", "bad")
    local commands = {}
    for n = 4, 20003 do
      commands[#commands + 1] = { "XADD", "orders", "1-" .. n, "data", engine.pack { n = n, k = "a" } }
    end
    server:pipeline(commands)
    tidemill("dlq", "retry", "--all")
    e:wait_position("orders", "1-20003", 20)
    retried()
    assert.equal(20003, server:call("LLEN", "done"))
    assert.equal(20003, e:state("rule", "a").n)
    assert.same({}, e:letters())
  end)

  ---- state from the shell ----

  describe("of state from the shell", function()
    it("set takes effect at once beside the owner, which had it in its cache", function()
      start()
      feed(3)
      assert.same({ n = 3, last = 3 }, e:state("rule", "a"))
      tidemill("state", "set", "rule", "a", '{"n":100}')
      assert.equal("1", e:ctl "edits")
      feed(4, 4)
      assert.same({ n = 101, last = 4 }, e:state("rule", "a"))
      local out = tidemill("state", "get", "rule", "a", "--json")
      assert.is_truthy(out:find('"state":{"last":4,"n":101}', 1, true) or out:find('"state":{"n":101,"last":4}', 1, true), out)
    end)

    it("delete takes effect at once", function()
      start()
      feed(3)
      tidemill("state", "delete", "rule", "a")
      feed(4, 4)
      assert.same({ n = 1, last = 4 }, e:state("rule", "a"))
    end)

    it("set while events flow: counted from there, none lost", function()
      start { settings = { batch_events = 20 } }
      feed(1)
      local commands = {}
      for n = 2, 20001 do
        commands[#commands + 1] = { "XADD", "orders", "1-" .. n, "data", engine.pack { n = n, k = "a" } }
      end
      server:pipeline(commands)
      tidemill("state", "set", "rule", "a", '{"n":1000000}')
      local at = e:position("orders")
      e:wait_position("orders", "1-20001", 20)
      e:wait_done()
      local n = e:state("rule", "a").n
      local left = 20001 - tonumber(at:match "%-(%d+)$")
      assert.is_true(n >= 1000000 + left and n <= 1000000 + 20000, n)
      assert.equal(20001, server:call("LLEN", "done"))
    end)
  end)
end)
