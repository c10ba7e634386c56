-- Effects that Redis refuses, and commands that a rule may not send (design 4, part 5, and 3.3).
local engine = require "spec.support.engine"
local program = require "spec.support.program"
local proxy = require "spec.support.proxy"
local redis = require "spec.support.redis"
local wait = require "spec.support.wait"

-- A command as the bytes that go to Redis.
local function bytes_of(...)
  local parts = { ("*%d\r\n"):format(select("#", ...)) }
  for _, word in ipairs { ... } do
    parts[#parts + 1] = ("$%d\r\n%s\r\n"):format(#word, word)
  end
  return table.concat(parts)
end

describe("a refused effect", function()
  local server, front, e

  before_each(function() server = redis.start() end)

  after_each(function() e, front = engine.clear(server, e, front) end)

  -- Before and behind the effect that is refused stand others that are not.
  local RULE = engine.rule([[
    ctx.state.n = (ctx.state.n or 0) + 1
    ctx.redis.rpush("before", event.n)
    ctx.redis.rpush("bad", "v" .. event.n)
    ctx.redis.rpush("behind", event.n)
    ctx.emit("out", { n = event.n })]], 'stream = "orders", key = "k"')
  local WITNESS = engine.rule [[ctx.redis.rpush("witness", event.n)]]

  local function feed(last, first)
    for n = first or 1, last do
      server:call("XADD", "orders", "1-" .. n, "data", engine.pack { n = n, k = "a" })
    end
  end

  local function start(options)
    options = options or {}
    options.server, options.rules = server, options.rules or { ["rule.lua"] = RULE, ["witness.lua"] = WITNESS }
    e = engine.start(options)
    return e
  end

  -- Events 1 … last are done, exactly once; each has a letter `refused` but for those in `except`.
  local function check(last, message)
    e:wait_position("orders", "1-" .. last)
    e:wait_done()
    local numbers, out = {}, {}
    for n = 1, last do
      numbers[n], out[n] = tostring(n), { n = n }
    end
    for _, list in ipairs { "before", "behind", "witness" } do
      assert.same(numbers, server:call("LRANGE", list, 0, -1), list)
    end
    assert.same(out, e:emitted "out")
    assert.same({ n = last }, e:state("rule", "a"))
    local letters = e:letters()
    assert.equal(last, #letters)
    for n, letter in ipairs(letters) do
      assert.same({ "refused", "rule", "orders", "1-" .. n, "1", bytes_of("RPUSH", "bad", "v" .. n), "" }, { letter.reason,
        letter.rule, letter.stream, letter.id, letter.attempts, letter.payload, letter.traceback })
      assert.same({ "data", engine.pack { n = n, k = "a" } }, letter.event)
      assert.is_truthy(letter.message:find(message, 1, true), letter.message)
    end
  end

  it("inside EXEC: a letter each, and all else is done", function()
    server:call("SET", "bad", "a string")
    feed(300)
    start { settings = { batch_events = 40 } }
    check(300, "WRONGTYPE")
    assert.equal("a string", server:call("GET", "bad"))
    feed(301, 301)
    check(301, "WRONGTYPE")
    assert.is_nil(e:ctl "unverified")
  end)

  it("inside EXEC: an output stream that holds another type", function()
    server:call("SET", "out", "a string")
    feed(2)
    start { rules = { ["rule.lua"] = engine.rule [[ctx.emit("out", { n = event.n }) ctx.state.n = event.n]] } }
    e:wait_position("orders", "1-2")
    e:wait_done()
    local letters = e:letters()
    assert.equal(2, #letters)
    assert.equal("refused", letters[1].reason)
    assert.equal(bytes_of("XADD", "out", "*", "data", engine.pack { n = 1 }), letters[1].payload)
    assert.same({ n = 2 }, e:state("rule", ""))
  end)

  it("when it is queued: the batch is computed again without it", function()
    server:call("ACL", "SETUSER", "mill", "on", ">pw", "~tidemill:g:*", "~orders", "~out", "~before", "~behind", "~witness", "&*",
      "+@all")
    feed(120)
    start { url = server:url("", "mill:pw@"), settings = { batch_events = 40 } }
    check(120, "NOPERM")
    feed(121, 121)
    check(121, "NOPERM")
    assert.is_true(e.process:is_running())
  end)

  it("when it is queued: for a command, not a key", function()
    server:call("ACL", "SETUSER", "mill", "on", ">pw", "~*", "&*", "+@all", "-publish")
    feed(3)
    start { url = server:url("", "mill:pw@"),
      rules = { ["rule.lua"] = engine.rule [[ctx.redis.publish("news", event.n) ctx.emit("out", { n = event.n })]] } }
    e:wait_position("orders", "1-3")
    e:wait_done()
    assert.same({ { n = 1 }, { n = 2 }, { n = 3 } }, e:emitted "out")
    local letters = e:letters()
    assert.equal(3, #letters)
    assert.equal(bytes_of("PUBLISH", "news", "2"), letters[2].payload)
    assert.matches("NOPERM.*publish", letters[2].message)
  end)

  describe("retried", function()
    local function retry_all()
      local code, out, err = program.run({ "dlq", "retry", "--all", "--group", "g", "--redis", server:url() })
      assert.same({ 0, "" }, { code, err }, out)
      e:wait_equal(0, function() return server:call("XLEN", e:key "inbox") end, 5, "the letters in the inbox")
      e:wait_done()
    end

    it("sends only that command, once", function()
      server:call("SET", "bad", "a string")
      feed(3)
      start()
      check(3, "WRONGTYPE")
      server:call("DEL", "bad")
      retry_all()
      assert.same({ "v1", "v2", "v3" }, server:call("LRANGE", "bad", 0, -1))
      assert.same({}, e:letters())
      assert.equal(3, server:call("LLEN", "before"))
      assert.same({ n = 3 }, e:state("rule", "a"))
      assert.equal("1-3", e:position "orders")
    end)

    for _, case in ipairs { "inside EXEC", "when it is queued" } do
      it("and refused again " .. case .. ": a new letter with one attempt more", function()
        server:call("SET", "bad", "a string")
        server:call("ACL", "SETUSER", "mill", "on", ">pw", "~*", "&*", "+@all")
        feed(2)
        start { url = server:url("", "mill:pw@") }
        check(2, "WRONGTYPE")
        if case == "when it is queued" then
          server:call("ACL", "SETUSER", "mill", "resetkeys", "~tidemill:g:*", "~orders", "~out", "~before", "~behind", "~witness")
        end
        for attempts = 2, 3 do
          retry_all()
          local letters = e:letters()
          assert.equal(2, #letters)
          for n, letter in ipairs(letters) do
            assert.same({ "refused", tostring(attempts), "rule", "orders", "1-" .. n, bytes_of("RPUSH", "bad", "v" .. n) },
              { letter.reason, letter.attempts, letter.rule, letter.stream, letter.id, letter.payload })
          end
        end
        assert.equal("a string", server:call("GET", "bad"))
        assert.equal(2, server:call("LLEN", "before"))
      end)
    end
  end)

  describe("when nobody saw the outcome", function()
    -- The reply of the EXEC that holds event 3 is lost.
    local function lose_reply()
      server:call("SET", "bad", "a string")
      feed(2)
      front = proxy.start(server)
      start { url = front:url() }
      check(2, "WRONGTYPE")
      front:swallow { with = "RPUSH" }
      feed(3, 3)
      wait.until_equal(1, function() return front:count().swallow end)
    end

    local function one_unverified()
      e:wait_true(function() return #e:letters() == 3 end, 5, "the letter unverified")
      e:wait_done()
      local letter = e:letters()[3]
      assert.same({ "unverified", "", "", "" }, { letter.reason, letter.rule, letter.event, letter.traceback })
      assert.is_truthy(letter.message:find("orders after 1-2 up to 1-3", 1, true), letter.message)
      assert.same({ "1", "2", "3" }, server:call("LRANGE", "before", 0, -1))
      assert.same({ n = 3 }, e:state("rule", "a"))
      feed(4, 4)
      e:wait_position("orders", "1-4")
      e:wait_done()
      assert.equal(4, #e:letters())
      assert.equal("refused", e:letters()[4].reason)
    end

    it("is told by one letter unverified: the connection broke", function()
      lose_reply()
      one_unverified()
    end)

    it("is told by one letter unverified: the engine died", function()
      lose_reply()
      e:kill()
      server:call("DEL", e:key "lease")
      e = e:another()
      one_unverified()
      e:stop()
      e = e:another()
      e:wait_owner()
      e:wait_done()
      assert.equal(4, #e:letters())
    end)

    it("and cannot be retried", function()
      lose_reply()
      one_unverified()
      local code, _, err = program.run({ "dlq", "retry", e:letters()[3].letter, "--group", "g", "--redis", server:url() })
      assert.equal(1, code)
      assert.matches("cannot be retried: unverified means", err)
    end)
  end)

  it("leaves no trace when there is none: ctl.unverified goes away within a moment", function()
    feed(1)
    start { rules = { ["rule.lua"] = engine.rule [[ctx.redis.rpush("list", event.n)]] } }
    e:wait_position("orders", "1-1")
    e:wait_equal(nil, function() return e:ctl "unverified" end, 0.5, "ctl.unverified gone")
    assert.equal("2", e:ctl "commits")
    assert.same({}, e:letters())
  end)
end)

describe("ctx.redis refuses", function()
  local server, e

  setup(function()
    server = redis.start()
    server:call("SET", "text", "abc")
    e = engine.start { server = server, rules = { ["rule.lua"] = engine.rule([[
      ctx.redis.rpush("effect", event.n)
      ctx.redis[event.command](unpack(event.words))
      ctx.redis.rpush("behind", event.n)]], 'stream = { "orders", "in:*" }, when = function(event) return event.n ~= nil end') } }
    e:wait_owner()
  end)

  teardown(function()
    e:kill()
    server:stop()
  end)

  local sent = 0
  local function send(command, ...)
    sent = sent + 1
    local id = "1-" .. sent
    server:call("DEL", "effect", "behind")
    server:call("XADD", "orders", id, "data", engine.pack { n = sent, command = command, words = #{ ... } > 0 and { ... } or "none" })
    e:wait_position("orders", id)
    e:wait_done()
    local letters = e:letters()
    server:call("DEL", e:key "dlq")
    return letters
  end

  for _, case in ipairs {
    { "an unknown command", "nosuch", { "a" }, "nosuch" },
    { "FLUSHALL", "flushall", { "ASYNC" }, "flushall" }, { "FLUSHDB", "flushdb", { "ASYNC" }, "flushdb" },
    { "KEYS", "keys", { "*" }, "keys" }, { "SWAPDB", "swapdb", { "0", "1" }, "swapdb" }, { "MOVE", "move", { "a", "1" }, "move" },
    { "an admin command", "config", { "GET", "dir" }, "config" }, { "SHUTDOWN", "shutdown", { "NOSAVE" }, "shutdown" },
    { "DEBUG", "debug", { "SLEEP", "0" }, "debug" }, { "a blocking command", "blpop", { "list", "0" }, "blpop" },
    { "XREAD", "xread", { "STREAMS", "orders", "0" }, "xread" }, { "XGROUP", "xgroup", { "DESTROY", "orders", "g" }, "xgroup" },
    { "XACK", "xack", { "orders", "g", "1-1" }, "xack" }, { "XSETID", "xsetid", { "orders", "1-1" }, "xsetid" },
    { "EVAL", "eval", { "return 1", "0" }, "eval" }, { "SUBSCRIBE", "subscribe", { "news" }, "subscribe" },
    { "MULTI", "multi", { "x" }, "multi" },
    { "too few words", "set", { "a" }, "set" }, { "too many words", "get", { "a", "b" }, "get" },
    { "an engine key", "get", { "tidemill:g:ctl" }, "tidemill:" },
    { "an engine key of another", "set", { "tidemill:x", "1" }, "tidemill:" },
    { "an engine key among others", "mset", { "a", "1", "tidemill:g:ctl", "1" }, "tidemill:" },
    { "to delete a stream that rules read", "del", { "a", "orders" }, "orders" },
    { "to trim one", "xtrim", { "orders", "MAXLEN", "1" }, "orders" },
    { "to rename one away", "rename", { "orders", "elsewhere" }, "orders" },
    { "to write one that a glob matches", "set", { "in:7", "x" }, "in:7" },
    { "a lookup that Redis answers with an error", "lrange", { "text", "0", "-1" }, "WRONGTYPE" },
  } do
    it(case[1], function()
      local letters = send(case[2], unpack(case[3]))
      assert.equal(1, #letters)
      assert.equal("error", letters[1].reason)
      assert.matches("^rule.lua:6: ctx%.redis%.", letters[1].message)
      assert.is_truthy(letters[1].message:find(case[4], 1, true), letters[1].message)
      assert.matches("rule.lua:6: in", letters[1].traceback)
      assert.equal(0, server:call("EXISTS", "effect", "behind"))
      assert.equal(1, server:call("EXISTS", "orders"))
    end)
  end

  it("an argument that is no string or number", function()
    local letters = send("set", "a", { 1 })
    assert.matches("rule.lua:6: ctx%.redis%.set: argument 2 must be a string or a number, it is a table", letters[1].message)
  end)

  for _, case in ipairs { { "set", "a", "1" }, { "publish", "news", "x" }, { "xadd", "in:9", "5-1", "a", "1" }, { "get", "a" },
    { "xrange", "orders", "-", "+" }, { "object", "ENCODING", "a" }, { "del", "in:" }, { "SET", "b", "2" } } do
    it("not: " .. table.concat(case, " "), function()
      if case[1] == "del" then
        case[2] = "out:1"
      end
      assert.same({}, send(unpack(case)))
      assert.equal(2, server:call("EXISTS", "effect", "behind"))
    end)
  end
end)
