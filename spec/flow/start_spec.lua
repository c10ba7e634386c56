-- How `tidemill run` begins: a Redis that is not there, is old, or does not let us in; rules that are not sound.
local engine = require "spec.support.engine"
local files = require "spec.support.files"
local peer = require "spec.support.peer"
local program = require "spec.support.program"
local redis = require "spec.support.redis"
local wait = require "spec.support.wait"

local COUNT = engine.rule [[ctx.state.n = (ctx.state.n or 0) + 1]]

describe("starting", function()
  local server, e

  local function start(options)
    options.server = options.server or server
    options.rules = options.rules or { ["count.lua"] = COUNT }
    e = engine.start(options)
    return e
  end

  after_each(function()
    if e then
      e:kill()
    end
    if server then
      server:stop()
    end
    e, server = nil, nil
  end)

  describe("without a Redis", function()
    it("says so in one line, keeps trying, and works when it appears", function()
      local folder = files.temp_folder()
      start { url = "unix://" .. folder .. "/redis.sock" }
      local line = e:wait_logged "redis_away"
      assert.equal("unix://" .. folder .. "/redis.sock", line.url)
      assert.equal("warn", line.level)
      assert.matches("No such file or directory", line.cause)
      server = redis.start { folder = folder }
      e.server = server
      server:call("XADD", "orders", "1-1", "total", 1)
      e:wait_position("orders", "1-1")
      assert.equal(1, #e:logged "redis_back")
      assert.same({ n = 1 }, e:state("count", ""))
      assert.is_true(#e:logged "redis_away" <= 3, e:log())
      e:stop()
    end)

    it("says it at most once a second, and does not spin", function()
      start { url = "redis://127.0.0.1:" .. redis.free_port() }
      local first = e:wait_logged "redis_away"
      assert.matches("Connection refused", first.cause)
      local began, used = wait.now(), e:cpu_s()
      e:wait_logged("redis_away", 10, 4)
      local took = wait.now() - began
      assert.is_true(took > 2.5, "3 more lines within " .. took)
      assert.is_true(e:cpu_s() - used < 0.15 * took, "CPU " .. e:cpu_s() - used .. " s in " .. took)
      e.process:signal "TERM"
      e:expect(0, 1)
    end)

    it("other commands end with 1 and the reason", function()
      local url = "unix:///tmp/tidemill-nobody.sock"
      for _, words in ipairs { { "dlq", "list" }, { "state", "list", "count" }, { "tail", "orders", "--no-follow" } } do
        local code, out, err = program.run(words, { env = { REDIS_URL = url } })
        assert.same({ 1, "" }, { code, out }, words[1])
        assert.is_truthy(err:find("/tmp/tidemill-nobody.sock", 1, true), err)
        assert.matches("No such file or directory", err)
      end
      local code, _, err = program.run({ "send", "orders" }, { env = { REDIS_URL = url }, input = '{"a":1}\n' })
      assert.equal(1, code)
      assert.matches("No such file or directory", err)
    end)
  end)

  -- The engine ends with 1 and a line `fatal` that has all of the texts.
  local function refuses(options, ...)
    start(options)
    e:expect(1)
    local lines = e:logged "fatal"
    assert.equal(1, #lines, e:log())
    for _, text in ipairs { ... } do
      assert.is_truthy(lines[1].message:find(text, 1, true), text .. " in " .. lines[1].message)
    end
    return lines[1].message
  end

  describe("at a Redis with passwords", function()
    before_each(function()
      server = redis.start { config = { "requirepass secret" }, password = "secret" }
    end)

    it("ends with 1: none given", function()
      refuses({ url = "unix://" .. server.socket }, "asks for a password and the URL has none", server.socket,
        "redis://:password@host:port")
    end)

    it("ends with 1: a wrong one, without showing it", function()
      local message = refuses({ url = server:url("", ":wrongpass1@") }, "refuses the password of user 'default'")
      assert.is_nil(message:find("wrongpass1", 1, true))
      assert.is_nil(e:log():find("wrongpass1", 1, true))
    end)

    it("works with the right one, and never logs it", function()
      start {}
      server:call("XADD", "orders", "1-1", "total", 1)
      e:wait_position("orders", "1-1")
      e:stop()
      assert.is_nil(e:log():find("secret", 1, true))
    end)
  end)

  describe("at a Redis with ACLs", function()
    before_each(function()
      server = redis.start()
      server:call("XADD", "orders", "1-1", "total", 1)
    end)

    local function user(...)
      server:call("ACL", "SETUSER", "mill", "on", ">pw", "~*", "&*", "+@all", ...)
      return server:url("", "mill:pw@")
    end

    -- What the engine needs, and the words of the cure.
    for _, command in ipairs { "info", "command", "watch", "get", "hgetall", "time", "xinfo", "multi", "exec", "set", "hset",
      "xgroup", "hmget", "xread", "pexpire" } do
      it("names the command that is missing: " .. command, function()
        refuses({ url = user("-" .. command), settings = { lease_ms = 300, limits = { hard_ms = 100 } } },
          "ACL SETUSER mill +" .. command)
      end)
    end

    it("names the command that is missing for globs: scan", function()
      refuses({ url = user("-scan"), rules = { ["count.lua"] = engine.rule("return", 'stream = "ord*"') } },
        "ACL SETUSER mill +scan")
    end)

    it("names the key of the engine that is missing", function()
      server:call("ACL", "SETUSER", "mill", "on", ">pw", "~orders", "&*", "+@all")
      refuses({ url = server:url("", "mill:pw@") }, "ACL SETUSER mill ~tidemill:g:", "~tidemill:g:*")
    end)

    it("names the stream that is missing", function()
      server:call("ACL", "SETUSER", "mill", "on", ">pw", "~tidemill:g:*", "&*", "+@all")
      refuses({ url = server:url("", "mill:pw@") }, "ACL SETUSER mill ~orders")
    end)

    it("names a command that is missing later: a state's HMGET", function()
      start { url = user(), rules = { ["count.lua"] = engine.rule([[ctx.state.n = (ctx.state.n or 0) + 1]],
        'stream = "orders", key = "k"') } }
      e:wait_position("orders", "1-1")
      server:call("ACL", "SETUSER", "mill", "-xread")
      server:call("XADD", "orders", "1-2", "k", "a")
      e:expect(1)
      assert.matches("ACL SETUSER mill %+xread", e:logged("fatal")[1].message)
    end)

    it("names a key that is missing later: the state's", function()
      start { url = user("resetkeys", "~orders", "~tidemill:g:ctl", "~tidemill:g:lease", "~tidemill:g:dlq",
        "~tidemill:g:inbox"), rules = { ["count.lua"] = COUNT } }
      e:expect(1)
      local message = e:logged("fatal")[1].message
      assert.is_truthy(message:find("ACL SETUSER mill ~tidemill:g:state:*", 1, true), message)
    end)

    it("works with exactly what it says it needs", function()
      server:call("ACL", "SETUSER", "mill", "on", ">pw", "~tidemill:g:*", "~orders", "~offers", "&*", "+@all", "-@admin",
        "-@dangerous", "+info", "-@blocking", "+xread")
      start { url = server:url("", "mill:pw@"), rules = { ["offer.lua"] = engine.rule [[ctx.emit("offers", { a = 1 })]] } }
      e:wait_position("orders", "1-1")
      e:wait_done()
      assert.same({ { a = 1 } }, e:emitted "offers")
      e:stop()
    end)
  end)

  describe("at an old Redis", function()
    it("ends with 1 and both versions", function()
      local old = peer.listen()
      start { url = old.url }
      local connections = {}
      e:wait_true(function()
        local c = old:accept()
        connections[#connections + 1] = c
        for _, each in ipairs(connections) do
          if each:take():find("INFO", 1, true) then
            each:write(peer.greeting "6.0.16")
          end
        end
        return not e.process:is_running()
      end)
      e:expect(1)
      local message = e:logged("fatal")[1].message
      assert.is_truthy(message:find("is version 6.0.16, but tidemill needs 6.2.5 or newer; upgrade", 1, true), message)
      old:close()
    end)
  end)

  describe("at a Redis that evicts", function()
    before_each(function()
      server = redis.start { config = { "maxmemory 100mb", "maxmemory-policy allkeys-lru" } }
      server:call("XADD", "orders", "1-1", "total", 1)
    end)

    it("is refused", function()
      refuses({}, "maxmemory-policy allkeys-lru", "noeviction", "--allow-eviction")
    end)

    it("is refused also where CONFIG is forbidden", function()
      server:call("ACL", "SETUSER", "mill", "on", ">pw", "~*", "&*", "+@all", "-config")
      refuses({ url = server:url("", "mill:pw@") }, "maxmemory-policy allkeys-lru", "--allow-eviction")
    end)

    it("runs with --allow-eviction", function()
      start { arguments = { "--allow-eviction" } }
      e:wait_position("orders", "1-1")
      e:stop()
    end)

    it("runs when only keys with a TTL are evicted", function()
      server:call("CONFIG", "SET", "maxmemory-policy", "volatile-lru")
      start {}
      e:wait_position("orders", "1-1")
      e:stop()
    end)
  end)

  describe("with rules that are not sound", function()
    before_each(function()
      server = redis.start()
    end)

    -- run prints what check prints, exits with 1, and touches nothing.
    local function both(rules, ...)
      start { rules = rules }
      e:expect(1)
      local folder = e.folder .. "/rules"
      local code, out = program.run { "check", folder }
      assert.equal(1, code)
      local log = e:log()
      for _, text in ipairs { ... } do
        text = text:gsub("^DIR", folder)
        assert.is_truthy(out:find(text, 1, true), text .. " in " .. out)
        assert.is_truthy(log:find(text, 1, true), text .. " in " .. log)
      end
      assert.is_truthy(log:find(out, 1, true), "all of check's output in run's: " .. log)
      assert.is_truthy(log:find("nothing was started", 1, true))
      assert.same({}, server:call("KEYS", "*"))
      return out
    end

    it("refuses an empty folder", function()
      both({}, "no rules")
    end)

    it("refuses a folder that is not there", function()
      start { rules = {}, arguments = { "--rules", "/nonexistent/rules" } }
      e:expect(1)
      assert.matches("/nonexistent/rules.*No such file or directory.*%-%-rules DIR", e:log())
    end)

    it("refuses all of them at once: syntax, no table, a load error, an unknown field", function()
      local out = both({
        ["a.lua"] = "local tidemill = require 'tidemill'\nreturn tidemill.rule {{ \n", ["b.lua"] = "return 12\n",
        ["c.lua"] = "\n\nerror('no luck')\n", ["good.lua"] = COUNT,
        ["d.lua"] = "return require('tidemill').rule {\n  stream = 'orders',\n  on_evnt = function() end,\n"
          .. "  on_event = function() end }\n",
      }, "DIR/a.lua:", "DIR/b.lua:", "DIR/c.lua:3: ", "no luck", "DIR/d.lua:3: ", "on_evnt", "on_event")
      assert.is_nil(out:find("good.lua", 1, true))
    end)

    it("refuses two rules of one name", function()
      both({ ["a.lua"] = engine.rule("return", 'name = "twin", stream = "orders"'),
        ["b.lua"] = engine.rule("return", 'name = "twin", stream = "orders"') }, "twin", "a.lua", "b.lua")
    end)

    it("refuses a rule whose streams are of two partitions", function()
      both({ ["a.lua"] = engine.rule("return", 'stream = { "orders:{1}", "orders:{2}" }') }, "DIR/a.lua:", "orders:{1}",
        "orders:{2}", "partition")
    end)
  end)

  describe("settings", function()
    it("that are unknown or mistyped end it with file, line and the nearest name", function()
      server = redis.start()
      start { settings_text = "return {\n  lease_sm = 5000,\n}\n" }
      e:expect(2)
      assert.matches("settings.lua:2: .*lease_sm.*lease_ms", e:log())
    end)
  end)
end)
