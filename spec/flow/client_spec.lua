local ffi = require "ffi"
local header = require "spec.support.header"
local redis = require "spec.support.redis"

local C = header.load("src/redis/client.h", "src/redis/command.h")

describe("a client", function()
  local server, client

  before_each(function()
    server = redis.start()
    client = server:connect()
  end)

  after_each(function()
    server:stop()
  end)

  it("calls, and tells error replies from failures", function()
    assert.equal("OK", client:call("SET", "k", "v\0w"))
    assert.equal("v\0w", client:call("GET", "k"))
    local value, why = client:pcall("LPUSH", "k", "x")
    assert.is_nil(value)
    assert.matches("^WRONGTYPE", why)
    assert.equal("PONG", client:call("PING"))
  end)

  it("says why it cannot connect", function()
    for url, words in pairs {
      ["unix:///tmp/no-such.sock"] = "cannot connect to Redis at unix:///tmp/no-such.sock: No such file or directory; is it up? "
        .. "--redis URL or $REDIS_URL says which one is meant",
      ["http://h"] = "must begin with redis://",
      [server:url("", ":secret@")] = "asks for none",
    } do
      local ok, why = pcall(redis.connect, url)
      assert.is_false(ok)
      assert.truthy(why:find(words, 1, true), why)
      assert.falsy(why:find("secret", 1, true), why)
    end
  end)

  it("runs a long pipeline, replies in order", function()
    local commands = {}
    for i = 1, 50000 do
      commands[i] = { "INCR", "n" }
    end
    local replies = client:pipeline(commands)
    assert.equal(50000, #replies)
    for i = 1, 50000, 777 do
      assert.equal(i, replies[i])
    end
    assert.same({}, client:pipeline {})
  end)

  it("tells of a lost connection once and makes a new one with the next call", function()
    client:call("PING")
    server:kill()
    assert.has_error(function() client:call("INCR", "n") end)
    assert.has_error(function() client:call("INCR", "n") end)
    server:launch()
    assert.equal(1, client:call("INCR", "n"))
  end)

  it("forgets a pipeline that failed", function()
    server:kill()
    assert.has_error(function() client:call("PING") end)
    assert.has_error(function() client:pipeline { { "PING" }, { "PING" } } end)
    server:launch()
    assert.equal("PONG", client:call("PING")) -- the pipeline's callback is gone by now
  end)

  it("works while Redis does, between post and wait", function()
    local why, seen = ffi.new("struct error"), {}
    local each = ffi.cast("link_reply_call *", function(_, reply)
      seen[#seen + 1] = redis.to_lua(reply)
    end)
    for round = 1, 3 do
      local out = C.client_out(client.handle)
      C.command_append(out, "INCR", "n", nil)
      C.command_append(out, "INCR", "n", nil)
      assert.equal(0, C.client_post(client.handle, 2, each, nil, why))
      assert.equal((round - 1) * 2, #seen)
      assert.equal(0, C.client_wait(client.handle, why))
    end
    each:free()
    assert.same({ 1, 2, 3, 4, 5, 6 }, seen)
  end)

  it("waits as long as it was told to", function()
    client:set_patience(0.1)
    local ok, why = pcall(client.call, client, "BLPOP", "nothing", "1")
    assert.is_false(ok)
    assert.truthy(why:find("no answer for 100 ms", 1, true), why)
    client:set_patience(0)
    assert.is_nil(client:call("BLPOP", "nothing", "0.2"))
  end)
end)
