local program = require "spec.support.program"
local redis = require "spec.support.redis"
local wait = require "spec.support.wait"
local files = require "spec.support.files"

describe("tidemill tail", function()
  local server

  setup(function()
    server = redis.start()
  end)
  teardown(function()
    server:stop()
  end)
  before_each(function()
    server:call("FLUSHALL")
  end)

  local function tail(...)
    local code, out, err = program.run({ "tail", "s", ... }, { env = { REDIS_URL = server:url() } })
    return out, code, err
  end

  local function follow(...)
    local folder = files.temp_folder()
    return program.start({ "tail", "s", ... },
      { env = { REDIS_URL = server:url() }, stdout = folder .. "/out", stderr = folder .. "/err" })
  end

  -- Waits until the follower is blocked in its read.
  local function wait_blocked()
    wait.until_true(function()
      return server:call("INFO", "clients"):find("blocked_clients:1", 1, true)
    end, 5, "a blocked client")
  end

  it("prints each kind of entry as one JSON object", function()
    server:call("XADD", "s", "1-1", "data", "\x82\xa1a\x01\xa1b\xc3")
    server:call("XADD", "s", "1-2", "event", '{"a": [1.5, "x\\u00e9"]}')
    server:call("XADD", "s", "1-3", "type", "view", "user", 'u"1\n')
    server:call("XADD", "s", "1-4", "data", "\x82\xa1a")
    server:call("XADD", "s", "1-5", "data", "{broken")
    server:call("XADD", "s", "1-6", "data", "plain\xff")
    local out, code, err = tail("--from", "start", "--no-follow")
    assert.same({ 0, "" }, { code, err })
    assert.equal([[
{"id":"1-1","stream":"s","event":{"a":1,"b":true}}
{"id":"1-2","stream":"s","event":{"a":[1.5,"xé"]}}
{"id":"1-3","stream":"s","event":{"type":"view","user":"u\"1\n"}}
{"id":"1-4","stream":"s","fields":{"data":"\\x82\\xa1a"}}
{"id":"1-5","stream":"s","fields":{"data":"{broken"}}
{"id":"1-6","stream":"s","event":{"data":"plain\\xff"}}
]], out)
  end)

  it("decodes as the settings say", function()
    local folder = files.temp_folder()
    files.write_file(folder .. "/a.lua", 'return { streams = { s = { codec = "fields" } } }')
    files.write_file(folder .. "/b.lua", 'return { streams = { s = { codec = "json" } } }')
    server:call("XADD", "s", "1-1", "data", '{"a":1}')
    server:call("XADD", "s", "1-2", "a", "1", "b", "2")
    local function events(name)
      return tail("--no-follow", "--config", folder .. name)
    end
    assert.equal([[{"id":"1-1","stream":"s","event":{"data":"{\"a\":1}"}}]] .. "\n"
      .. [[{"id":"1-2","stream":"s","event":{"a":"1","b":"2"}}]] .. "\n", events "/a.lua")
    assert.equal([[{"id":"1-1","stream":"s","event":{"a":1}}]] .. "\n"
      .. [[{"id":"1-2","stream":"s","fields":{"a":"1","b":"2"}}]] .. "\n", events "/b.lua")
  end)

  it("begins where it is told and stops after --count", function()
    for i = 1, 1200 do
      server:call("XADD", "s", "1-" .. i, "i", i)
    end
    local function count(...)
      return select(2, tail(...):gsub("\n", ""))
    end
    assert.equal(1200, count("--no-follow"))
    assert.equal(0, count("--no-follow", "--from", "end"))
    assert.equal(7, count("--from", "start", "--count", "7"))
    assert.equal(1100, count("--from", "1-100", "--count", "1100"))
    assert.matches('"id":"1%-101"', tail("--from", "1-100", "--count", "1"))
  end)

  it("is empty for a stream that is not there", function()
    assert.same({ "", 0, "" }, { tail("--no-follow") })
    local p = follow("--count", "1")
    wait_blocked()
    server:call("XADD", "s", "5-1", "a", "b")
    p:expect(0)
    assert.matches('"id":"5%-1"', p:stdout())
  end)

  it("follows from the end by itself, and loses nothing between its reads", function()
    server:call("XADD", "s", "1-1", "i", "old")
    local p = follow()
    wait_blocked()
    for i = 1, 300 do
      server:call("XADD", "s", "*", "i", i)
    end
    wait.until_true(function()
      return p:stdout():find('"i":"300"', 1, true)
    end, 5, "the last entry")
    assert.is_nil(p:stdout():find("old", 1, true))
    assert.equal(300, select(2, p:stdout():gsub("\n", "")))
    p:signal("INT")
    assert.same({ signal = 2 }, p:wait())
    assert.equal("", p:stderr())
  end)

  it("ends quietly when its reader has gone", function()
    for i = 1, 20000 do
      server:call("XADD", "s", "*", "i", i)
    end
    local _, out, err = program.shell('"$tidemill" tail s --from start | head -1',
      { env = { REDIS_URL = server:url() } })
    assert.equal(1, select(2, out:gsub("\n", "")))
    assert.equal("", err)
  end)

  it("fails with the cause", function()
    server:call("SET", "s", "x")
    for _, arguments in ipairs { { "--from", "end" }, { "--from", "start" } } do
      local out, code, err = tail(unpack(arguments))
      assert.same({ "", 1 }, { out, code })
      assert.matches("^tidemill: cannot read s: Redis says WRONGTYPE", err)
    end
    server:call("DEL", "s")
    local _, code, err = tail("--from", "18446744073709551616-0")
    assert.equal(1, code)
    assert.matches("Redis says ERR Invalid stream ID", err)
    local p = follow()
    wait_blocked()
    server:kill()
    assert.same({ code = 1 }, p:wait())
    assert.matches("Redis", p:stderr())
    server:launch()
  end)
end)
