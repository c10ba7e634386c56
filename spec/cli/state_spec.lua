local process = require "spec.support.process"
local program = require "spec.support.program"
local redis = require "spec.support.redis"
local files = require "spec.support.files"
local wait = require "spec.support.wait"

local CTL, HASH = "tidemill:tidemill:ctl", "tidemill:tidemill:state:cart"

-- [expiry, version, state] as the engine writes it.
local function packed(expiry_ms, version, state)
  local function big_endian(number, len)
    local out = {}
    for i = len, 1, -1 do
      out[i] = string.char(number % 256)
      number = math.floor(number / 256)
    end
    return table.concat(out)
  end
  return "\x93\xcf" .. big_endian(expiry_ms, 8) .. "\xce" .. big_endian(version, 4) .. state
end

local TOTAL_5, TOTAL_7 = "\x81\xa5total\x05", "\x81\xa5total\x07"
local EXPIRY = 1795362638669

describe("tidemill state", function()
  local server

  setup(function()
    server = redis.start()
  end)
  teardown(function()
    server:stop()
  end)
  before_each(function()
    server:call("FLUSHALL")
    server:call("HSET", CTL, "fence", "1:a", "commits", 7)
    server:call("HSET", HASH, "u1", packed(EXPIRY, 3, TOTAL_5), "u2", packed(0, 1, "\x80"), "x\t1",
      packed(0, 1, TOTAL_5))
  end)

  local function state(...)
    local code, out, err = program.run({ "state", ... }, { env = { REDIS_URL = server:url() } })
    return out, code, err
  end

  local function sorted(out)
    local lines = {}
    for line in out:gmatch("[^\n]+") do
      lines[#lines + 1] = line
    end
    table.sort(lines)
    return lines
  end

  local function edits(key)
    return tonumber(server:call("HGET", key or CTL, "edits")) or 0
  end

  it("lists keys with their states", function()
    local out, code, err = state("list", "cart")
    assert.same({ 0, "" }, { code, err })
    assert.same({ 'u1\t{"total":5}', "u2\t{}", 'x\\t1\t{"total":5}' }, sorted(out))
    assert.same({ 'u1\t{"total":5}', "u2\t{}" }, sorted((state("list", "cart", "--match", "u*"))))
    assert.equal(2, #sorted((state("list", "cart", "--count", "2"))))
    assert.equal("", (state("list", "other")))
    assert.equal(
      '{"key":"u1","partition":null,"expires":1795362638669,"version":3,"state":{"total":5}}\n',
      (state("list", "cart", "--match", "u1", "--json")))
  end)

  it("lists many", function()
    for i = 1, 3000 do
      server:call("HSET", HASH, "k" .. i, packed(0, 1, TOTAL_5))
    end
    assert.equal(3003, #sorted((state("list", "cart"))))
    assert.equal(700, #sorted((state("list", "cart", "--count", "700"))))
  end)

  it("names a value that is no state and goes on", function()
    server:call("HSET", HASH, "bad\27", "zzz", "worse", packed(0, 1, "\xc1"))
    local out, code, err = state("list", "cart")
    assert.equal(1, code)
    assert.equal(3, #sorted(out))
    assert.matches("the state of key bad\\x1b is not written as the engine does", err, 1, true)
    assert.matches("the state of key worse ", err)
  end)

  it("gets one, with its expiry", function()
    assert.same({ '{"total":5}\n', 0, "expires 2026-11-22T15:50:38.669Z\n" },
      { state("get", "cart", "u1") })
    assert.same({ "{}\n", 0, "" }, { state("get", "cart", "u2") })
    local object =
      '{"key":"u1","partition":null,"expires":1795362638669,"version":3,"state":{"total":5}}\n'
    assert.same({ object, 0, "" }, { state("get", "cart", "u1", "--json") })
    assert.same({ "", 1, "tidemill: rule cart keeps no state for key u9\n" },
      { state("get", "cart", "u9") })
  end)

  it("sets: expiry and version stay, ctl counts an edit", function()
    assert.same({ "", 0, "" }, { state("set", "cart", "u1", '{"total":7}') })
    assert.equal(packed(EXPIRY, 3, TOTAL_7), server:call("HGET", HASH, "u1"))
    assert.equal(1, edits())
    assert.same({ "", 0, "" }, { state("set", "cart", "new", '{"total":7}') })
    assert.equal(packed(0, 1, TOTAL_7), server:call("HGET", HASH, "new"))
    assert.same({ "", 0, "" }, { state("set", "fresh", "", '[1]') })
    assert.equal(packed(0, 1, "\x91\x01"), server:call("HGET", "tidemill:tidemill:state:fresh", ""))
    assert.equal(3, edits())
    assert.equal("7", server:call("HGET", CTL, "commits"))
  end)

  it("sets the version that is asked for", function()
    for _, key in ipairs { "u1", "new" } do
      assert.same({ "", 0, "" }, { state("set", "cart", key, '{"total":7}', "--state-version", "4") })
      assert.equal(packed(key == "u1" and EXPIRY or 0, 4, TOTAL_7), server:call("HGET", HASH, key))
    end
    for _, version in ipairs { "0", "2147483648", "x" } do
      assert.equal(2, select(2, state("set", "cart", "u1", "{}", "--state-version", version)))
    end
  end)

  it("reads back what it set", function()
    local text = '{"a":[1,2.5,null,true,"ü"],"big":9007199254740993,"o":{"x":{}}}'
    state("set", "cart", "u1", text)
    assert.equal(text .. "\n", (state("get", "cart", "u1")))
  end)

  it("deletes", function()
    assert.same({ "", 0, "" }, { state("delete", "cart", "u1") })
    assert.equal(0, server:call("HEXISTS", HASH, "u1"))
    assert.equal(1, edits())
    assert.same({ "", 1, "tidemill: rule cart keeps no state for key u1\n" },
      { state("delete", "cart", "u1") })
    assert.equal(1, edits())
  end)

  it("refuses what is no state", function()
    for _, case in ipairs {
      { "[1", 2, "the state is no JSON: at byte" }, { "5", 2, "a state is a table" },
      { '"x"', 2, "a state is a table" },
      { "null", 2, "a state is a table" },
      { '{"a":"' .. ("x"):rep(70000) .. '"}', 1,
        "the state has 70008 bytes, limits.state_kb allows 65536" },
    } do
      local out, code, err = state("set", "cart", "u1", case[1])
      assert.same({ "", case[2] }, { out, code })
      assert.is_truthy(err:find(case[3], 1, true), err)
    end
    assert.equal(packed(EXPIRY, 3, TOTAL_5), server:call("HGET", HASH, "u1"))
    local folder = files.temp_folder()
    files.write_file(folder .. "/big.lua", "return { limits = { state_kb = 128 } }")
    assert.equal(0, select(2, state("set", "cart", "u1", '{"a":"' .. ("x"):rep(70000) .. '"}',
      "--config", folder .. "/big.lua")))
  end)

  it("refuses words that make no sense", function()
    for _, case in ipairs {
      { { "get", "cart" }, "it is: tidemill state get RULE KEY" },
      { { "list", "a", "b" }, "it is: tidemill state list RULE" },
      { { "lst", "cart" }, "did you mean list?" },
      { { "get", "a/b", "k" }, "a/b is no name of a rule" },
    } do
      local out, code, err = state(unpack(case[1]))
      assert.same({ "", 2 }, { out, code })
      assert.is_truthy(err:find(case[2], 1, true), err)
    end
  end)

  it("works on the partition that has the key, or asks for one", function()
    local TAGGED = "tidemill:{3}:tidemill:"
    server:call("HSET", TAGGED .. "ctl", "fence", "1:a")
    server:call("HSET", TAGGED .. "state:cart", "v1", packed(0, 2, TOTAL_5), "both",
      packed(0, 2, TOTAL_5))
    server:call("HSET", HASH, "both", packed(0, 2, TOTAL_5))
    assert.same({ "", 0, "" }, { state("set", "cart", "v1", '{"total":7}') })
    assert.equal(packed(0, 2, TOTAL_7), server:call("HGET", TAGGED .. "state:cart", "v1"))
    assert.equal(1, edits(TAGGED .. "ctl"))
    assert.equal(0, edits())
    for _, arguments in ipairs { { "get", "cart", "both" }, { "delete", "cart", "both" },
      { "set", "cart", "new", "{}" } } do
      local _, code, err = state(unpack(arguments))
      assert.equal(2, code)
      assert.matches("choose one with --tag", err, 1, true)
    end
    assert.equal(0, select(2, state("delete", "cart", "both", "--tag", "")))
    assert.equal('{"total":5}\n', (state("get", "cart", "both")))
    assert.equal(0, select(2, state("set", "cart", "new", '{"total":7}', "--tag", "3")))
    assert.equal(packed(0, 1, TOTAL_7), server:call("HGET", TAGGED .. "state:cart", "new"))
  end)

  it("never makes a ctl", function()
    server:call("FLUSHALL")
    for _, arguments in ipairs { { "set", "cart", "u1", "{}" },
      { "set", "cart", "u1", "{}", "--tag", "3" }, { "list", "cart" },
      { "delete", "cart", "u1" } } do
      local _, code = state(unpack(arguments))
      assert.equal(1, code)
    end
    assert.equal(0, server:call("DBSIZE"))
  end)

  it("gets between the commits of a busy owner", function()
    local busy = process.start { "redis-cli", "-s", server.socket, "-r", "100000000", "HINCRBY",
      CTL, "commits", "1" }
    wait.until_true(function()
      return tonumber(server:call("HGET", CTL, "commits")) > 100
    end)
    local out, code, err = state("set", "cart", "u1", '{"total":7}')
    busy:kill()
    assert.same({ "", 0, "" }, { out, code, err })
    assert.equal(packed(EXPIRY, 3, TOTAL_7), server:call("HGET", HASH, "u1"))
  end)
end)
