-- The chaos proxy itself: a fault injector that does not do what it says proves nothing.
local proxy = require "spec.support.proxy"
local redis = require "spec.support.redis"
local wait = require "spec.support.wait"

describe("the chaos proxy", function()
  local server, front, clients

  before_each(function()
    server, clients = redis.start(), {}
    front = proxy.start(server)
  end)

  after_each(function()
    for _, client in ipairs(clients) do
      client:close()
    end
    front:stop()
    server:stop()
  end)

  local function connect()
    local client = redis.connect(front:url())
    table.insert(clients, client)
    return client
  end

  local function counted(name, number)
    wait.until_equal(number, function() return front:count()[name] end, 5, name)
  end

  local function transaction(key, command)
    return { { "MULTI" }, { command or "SET", key, "1" }, { "EXEC" } }
  end

  it("passes everything as it is", function()
    local client = connect()
    local big = ("EXEC\r\n*1\r\n$4\r\nEXEC\r\n\0"):rep(100000)
    client:call("SET", "big", big)
    assert.is_true(client:call("GET", "big") == big)
    assert.same({ "OK", "QUEUED", { "OK" }, { err = "ERR EXEC without MULTI" }, {}, false, 0 },
      client:pipeline { { "MULTI" }, { "SET", "k", "v" }, { "EXEC" }, { "exec" },
        { "LRANGE", "none", 0, -1 }, { "GET", "none" }, { "EXISTS", "" } })
    assert.equal(2, front:count().execs)
  end)

  it("passes many small commands, and what a client sent before it went", function()
    local client, commands = connect(), {}
    for i = 1, 20000 do
      commands[i] = { "RPUSH", "list", i }
    end
    assert.equal(20000, client:pipeline(commands)[20000])
    local last = connect()
    pcall(last.pipeline, last, { { "SET", "last", "word" } })
    last:close()
    wait.until_equal("word", function() return server:call("GET", "last") end)
  end)

  it("cuts all connections", function()
    local a, b = connect(), connect()
    front:cut()
    for _, client in ipairs { a, b } do
      assert.has_error(function() client:call("PING") end)
      assert.equal("PONG", client:call("PING"))
    end
    assert.same({ 1, 4 }, { front:count().cut, front:count().connections })
  end)

  it("delays both ways, in order", function()
    local client = connect()
    front:delay(60)
    local began = wait.now()
    assert.same({ 1, 2, 3 }, client:pipeline { { "INCR", "n" }, { "INCR", "n" }, { "INCR", "n" } })
    local took = wait.now() - began
    assert.truthy(took >= 0.12 and took < 1, took)
    front:delay(0)
    began = wait.now()
    client:call("PING")
    assert.truthy(wait.now() - began < 0.06)
  end)

  for _, whole in ipairs { false, true } do
    describe(whole and "holds a transaction" or "holds an EXEC", function()
      it("and lets it land on the old connection, after the new one is made", function()
        local client = connect()
        front:hold { whole = whole }
        assert.has_error(function() client:pipeline(transaction "k") end)
        counted("hold", 1)
        assert.is_nil(client:call("GET", "k")) -- on a new connection
        front:release()
        wait.until_equal("1", function() return client:call("GET", "k") end)
        counted("landed", 1)
        assert.equal(0, front:count().fenced)
      end)

      it("and a WATCH fences it", function()
        local client = connect()
        client:call("WATCH", "fence")
        front:hold { whole = whole }
        assert.has_error(function() client:pipeline(transaction "k") end)
        client:call("SET", "fence", "mine")
        front:release()
        counted("fenced", 1)
        assert.is_nil(client:call("GET", "k"))
      end)

      it("and releases it after a time", function()
        local client = connect()
        front:hold { whole = whole, ms = 50 }
        local began = wait.now()
        assert.has_error(function() client:pipeline(transaction "k") end)
        counted("landed", 1)
        assert.truthy(wait.now() - began >= 0.05)
      end)

      it("of the kind that was asked for, and no other", function()
        local client = connect()
        front:hold { whole = whole, with = "HSET" }
        local replies = client:pipeline(transaction("k", "APPEND"))
        assert.same({ "OK", "QUEUED", { 1 } }, replies)
        assert.has_error(function()
          client:pipeline { { "MULTI" }, { "APPEND", "k", "2" }, { "hset", "h", "f", "v" }, { "EXEC" },
            { "APPEND", "k", "lost with the connection" } }
        end)
        front:release()
        counted("landed", 1)
        assert.same({ "12", "v" }, { client:call("GET", "k"), client:call("HGET", "h", "f") })
      end)
    end)
  end

  it("loses what is held when Redis goes", function()
    local client = connect()
    front:hold()
    assert.has_error(function() client:pipeline(transaction "k") end)
    server:kill()
    counted("lost", 1)
    server:launch()
    assert.is_nil(client:call("GET", "k"))
  end)

  it("keeps what is held through a cut", function()
    local client = connect()
    front:hold()
    assert.has_error(function() client:pipeline(transaction "k") end)
    front:cut()
    front:release()
    counted("landed", 1)
  end)

  it("swallows the reply of an EXEC, not its effect", function()
    local client = connect()
    front:swallow()
    local replies
    assert.has_error(function()
      replies = client:pipeline { { "INCR", "n" }, { "MULTI" }, { "INCR", "n" }, { "EXEC" }, { "PING" } }
    end)
    assert.is_nil(replies)
    counted("swallow", 1)
    assert.equal("2", client:call("GET", "n"))
    assert.same({ "OK", "QUEUED", { 3 } }, client:pipeline { { "MULTI" }, { "INCR", "n" }, { "EXEC" } })
  end)

  it("swallows only of the kind that was asked for", function()
    local client = connect()
    front:swallow { with = "HSET" }
    client:pipeline(transaction "k")
    assert.equal(0, front:count().swallow)
    assert.has_error(function()
      client:pipeline { { "MULTI" }, { "HSET", "h", "f", "v" }, { "EXEC" } }
    end)
    counted("swallow", 1)
  end)

  it("calls off what has not happened", function()
    local client = connect()
    front:hold { whole = true }
    front:swallow()
    front:disarm()
    assert.same({ "OK", "QUEUED", { "OK" } }, client:pipeline(transaction "k"))
    assert.has_error(function() front:order("make coffee") end)
    assert.has_error(function() front:order("hold GET") end)
  end)

  it("ends connections while Redis is not there, and takes new ones when it is", function()
    local client = connect()
    server:kill()
    assert.has_error(function() client:call("PING") end)
    assert.has_error(function() client:call("PING") end)
    server:launch()
    assert.equal("PONG", client:call("PING"))
  end)
end)
