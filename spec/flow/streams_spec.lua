-- Which streams are read, in which order, and by which partition (design 2, 3.1, 3.3).
local engine = require "spec.support.engine"
local redis = require "spec.support.redis"

local function seen_rule(streams)
  return { ["seen.lua"] = engine.rule([[ctx.redis.rpush("seen", ctx.stream .. " " .. ctx.id)]], "stream = " .. streams) }
end

describe("streams", function()
  local server, e

  before_each(function() server = redis.start() end)

  after_each(function() e = engine.clear(server, e) end)

  local function start(options)
    options.server = server
    e = engine.start(options)
    return e
  end

  local function add(stream, ...)
    for _, id in ipairs { ... } do
      server:call("XADD", stream, id, "a", "1")
    end
  end

  -- The list of events in order.
  local function seen(expected)
    e:wait_equal(#expected, function() return server:call("LLEN", "seen") end, 8, "the number of events")
    assert.same(expected, server:call("LRANGE", "seen", 0, -1))
  end

  it("of a list are read in the order of entry IDs, ties by name", function()
    add("a", "1-1", "3-1", "3-3")
    add("b", "1-1", "2-1", "3-2")
    add("c", "0-1", "3-1")
    start { rules = seen_rule '{ "c", "a", "b" }' }
    seen { "c 0-1", "a 1-1", "b 1-1", "b 2-1", "a 3-1", "c 3-1", "b 3-2", "a 3-3" }
  end)

  it("of which one waits for its turn are not overtaken in what it gets meanwhile", function()
    for ms = 1, 25 do
      add("a", ms .. "-1")
    end
    add("b", "15-2")
    start { settings = { batch_events = 10 }, rules = { ["seen.lua"] = engine.rule([[
      ctx.redis.rpush("seen", ctx.stream .. " " .. ctx.id)
      if ctx.id == "5-1" then
        ctx.log.warn("reads on")
        repeat until ctx.redis.get("go")
      end]], 'stream = { "a", "b" }') } }
    e:wait_logged "rule_warn_seen" -- the first batch has come to a 10-1, and the next of `a` are being read, but none of `b`
    add("b", "17-2")
    server:call("SET", "go", 1)
    local expected = {}
    for ms = 1, 25 do
      expected[#expected + 1] = ("a %d-1"):format(ms)
      expected[#expected + 1] = (ms == 15 or ms == 17) and ("b %d-2"):format(ms) or nil
    end
    seen(expected)
  end)

  it("of very different lengths keep that order in any batch size", function()
    local seed, expected, commands = tonumber(os.getenv "TIDEMILL_SEED") or os.time(), {}, {}
    math.randomseed(seed)
    for ms = 1, 3000 do
      for _, stream in ipairs { "a", "b", "c", "d" } do
        local odds = ({ a = 0.9, b = 0.3, c = 0.05, d = ms > 2000 and 1 or 0 })[stream]
        if math.random() < odds then
          commands[#commands + 1] = { "XADD", stream, ms .. "-1", "a", "1" }
          expected[#expected + 1] = stream .. " " .. ms .. "-1"
        end
      end
    end
    server:pipeline(commands)
    for _, batch in ipairs { 1000, 7 } do
      start { rules = seen_rule '{ "a", "b", "c", "d" }', settings = { batch_events = batch } }
      e:wait_equal(#expected, function() return server:call("LLEN", "seen") end, 20, "the number of events, seed " .. seed)
      local list = server:call("LRANGE", "seen", 0, -1)
      for i, each in ipairs(expected) do
        assert(list[i] == each, ("seed %d, batch %d, at %d: %s, not %s"):format(seed, batch, i, list[i], each))
      end
      e:wait_done()
      for _, stream in ipairs { "a", "b", "c", "d" } do
        assert.equal(0, e:group_info(stream).lag)
      end
      e:stop()
      server:call("DEL", "seen", e:key "ctl")
      for _, stream in ipairs { "a", "b", "c", "d" } do
        server:call("XGROUP", "DESTROY", stream, "g")
      end
    end
  end)

  it("are read by several rules in the order of their names, effects by entry, rule, call", function()
    add("a", "1-1", "1-2")
    local function rule(name)
      return engine.rule(('ctx.redis.rpush("seen", "%s1 " .. ctx.id) ctx.redis.rpush("seen", "%s2 " .. ctx.id)'):format(name, name),
        'stream = "a", name = "' .. name .. '"')
    end
    start { rules = { ["1.lua"] = rule "zebra", ["2.lua"] = rule "ant", ["3.lua"] = rule "bee" } }
    seen { "ant1 1-1", "ant2 1-1", "bee1 1-1", "bee2 1-1", "zebra1 1-1", "zebra2 1-1", "ant1 1-2", "ant2 1-2", "bee1 1-2",
      "bee2 1-2", "zebra1 1-2", "zebra2 1-2" }
  end)

  ---- partitions ----

  it("with hash tags are partitions with keys of their own", function()
    add("orders:{1}", "1-1", "1-2")
    add("pays:{1}", "1-1")
    add("orders:{2}", "5-1")
    start { rules = { ["count.lua"] = engine.rule([[ctx.state.n = (ctx.state.n or 0) + 1 if ctx.id == "5-1" then error "x" end]],
      'stream = { "orders:*", "pays:*" }') }, settings = { lease_ms = 20000 } }
    e:wait_position("orders:{1}", "1-2", 5, "1")
    e:wait_position("pays:{1}", "1-1", 5, "1")
    e:wait_position("orders:{2}", "5-1", 5, "2")
    e:wait_done(5, "1")
    e:wait_done(5, "2")
    assert.same({ n = 3 }, e:state("count", "", "1"))
    assert.is_nil(e:state("count", "", "2"))
    assert.same({ 0, 1 }, { #e:letters "1", #e:letters "2" })
    assert.equal(1, server:call("EXISTS", "tidemill:{1}:g:lease"))
    assert.equal(1, server:call("EXISTS", "tidemill:{2}:g:lease"))
    assert.is_nil(e:ctl("offset:orders:{1}", "2"))
    e:stop()
    assert.equal(0, server:call("EXISTS", "tidemill:{1}:g:lease", "tidemill:{2}:g:lease", "tidemill:g:lease"))
  end)

  it("with partition = stream stand alone", function()
    add("a", "1-1")
    add("b", "1-1")
    start { rules = { ["a.lua"] = engine.rule([[ctx.state.a = 1]], 'stream = "a"'),
      ["b.lua"] = engine.rule([[ctx.state.b = 1]], 'stream = "b"'), ["x.lua"] = engine.rule([[ctx.state.x = 1]], 'stream = "x:{a}"') },
      settings = { partition = "stream" } }
    e:wait_position("a", "1-1", 5, "a")
    e:wait_position("b", "1-1", 5, "b")
    assert.same({ a = 1 }, e:state("a", "", "a"))
    assert.same({ b = 1 }, e:state("b", "", "b"))
    add("x:{a}", "1-1")
    e:wait_position("x:{a}", "1-1", 5, "a") -- with a, not alone
    assert.same({ x = 1 }, e:state("x", "", "a"))
    assert.is_nil(e:position "a")
  end)

  it("with partition = stream cannot be joined", function()
    start { rules = seen_rule '{ "a", "b" }', settings = { partition = "stream" } }
    e:expect(1)
    assert.matches("seen.lua:.*partition", e:log())
  end)

  ---- globs ----

  it("of a glob: those that exist by --from, those that appear later from their start", function()
    add("in:old", "1-1", "1-2")
    add("other", "1-1")
    start { rules = seen_rule '"in:*"', from = "end" }
    e:wait_owner()
    assert.equal("1-2", e:position "in:old")
    add("in:old", "1-3")
    add("in:new", "1-1", "1-2")
    e:wait_position("in:old", "1-3")
    e:wait_position("in:new", "1-2")
    local list = server:call("LRANGE", "seen", 0, -1)
    table.sort(list)
    assert.same({ "in:new 1-1", "in:new 1-2", "in:old 1-3" }, list)
    assert.equal("in:*", e:wait_logged("stream_found").pattern)
    assert.is_truthy(e:ctl "since:in:*")
    e:stop()
    -- One that appears while nobody runs is new as well.
    add("in:later", "1-1")
    e = e:another { from = "end" }
    e:wait_position("in:later", "1-1")
    assert.equal("in:later 1-1", server:call("LINDEX", "seen", -1))
    assert.equal(4, server:call("LLEN", "seen"))
    assert.equal(0, e:group_info("in:later").lag)
  end)

  it("of a glob with hash tags: a new partition from its start", function()
    add("in:{1}", "1-1")
    start { rules = seen_rule '"in:*"', from = "end" }
    e:wait_position("in:{1}", "1-1", 5, "1")
    add("in:{2}", "1-1", "1-2")
    e:wait_position("in:{2}", "1-2", 8, "2")
    seen { "in:{2} 1-1", "in:{2} 1-2" }
    e:stop()
    add("in:{3}", "1-1")
    e = e:another { from = "end" }
    e:wait_position("in:{3}", "1-1", 8, "3")
    seen { "in:{2} 1-1", "in:{2} 1-2", "in:{3} 1-1" }
  end)

  it("of a glob are never our own, nor of another type", function()
    server:call("SET", "in-text", "x")
    add("in", "1-1")
    start { rules = { ["a.lua"] = engine.rule([[ctx.redis.rpush("seen", ctx.stream) error("letter")]], 'stream = "*"') } }
    e:wait_position("in", "1-1")
    add("another", "1-1")
    e:wait_position("another", "1-1")
    e:wait_done()
    local streams = {}
    for field in pairs(e:ctl()) do
      local stream = field:match "^offset:(.*)"
      streams[#streams + 1] = stream
    end
    table.sort(streams)
    assert.same({ "another", "in" }, streams)
    assert.equal(2, #e:letters())
  end)

  it("of a glob are found among many keys", function()
    local commands = {}
    for i = 1, 20000 do
      commands[i] = { "SET", "key:" .. i, "1" }
    end
    server:pipeline(commands)
    add("key:stream", "1-1")
    start { rules = seen_rule '"key:*"' }
    seen { "key:stream 1-1" }
    add("key:late", "1-1")
    seen { "key:stream 1-1", "key:late 1-1" }
  end)

  it("have any name", function()
    local names = { "in:with space", "in:\"quote'", "in:new\nline", "in:\xc3\xa9", "in:\xff\xfe", "in:*", "in:[x", "in:%s%d", "in:",
      "in:" .. ("n"):rep(890) }
    for _, name in ipairs(names) do
      add(name, "1-1")
    end
    start { rules = { ["a.lua"] = engine.rule([[ctx.redis.sadd("names", ctx.stream) error("no")]], 'stream = "in:*"') } }
    for _, name in ipairs(names) do
      e:wait_position(name, "1-1")
    end
    e:wait_done()
    assert.equal(#names, #e:letters())
    local found = {}
    for _, letter in ipairs(e:letters()) do
      found[letter.stream] = true
    end
    for _, name in ipairs(names) do
      assert.is_true(found[name], name)
      assert.equal(0, e:group_info(name).lag)
    end
    assert.equal(#names, #e:status().partitions[1].streams)
  end)

  it("whose name holds a NUL, or is very long, are left alone, and told", function()
    add("in:a\0b", "1-1")
    add("in:" .. ("n"):rep(2000), "1-1")
    add("in:a", "1-1")
    start { rules = seen_rule '"in:*"' }
    seen { "in:a 1-1" }
    local line = e:wait_logged "stream_name"
    assert.equal("warn", line.level)
    add("in:a", "1-2")
    seen { "in:a 1-1", "in:a 1-2" }
    local streams = 0
    for field in pairs(e:ctl()) do
      streams = streams + (field:find "^offset:" and 1 or 0)
    end
    assert.equal(1, streams)
    assert.equal(1, #e:logged "stream_name")
  end)

  it("have IDs from the least to the greatest", function()
    add("a", "0-1", "0-18446744073709551615", "5-18446744073709551615", "6-0")
    start { rules = { ["a.lua"] = engine.rule([[ctx.redis.rpush("seen", ctx.id .. " " .. ctx.now)]], 'stream = "a"') } }
    seen { "0-1 0", "0-18446744073709551615 0", "5-18446744073709551615 5", "6-0 6" }
    add("a", "9007199254740992-18446744073709551615")
    e:wait_position("a", "9007199254740992-18446744073709551615")
    e:wait_done()
    assert.same({ "future", "9007199254740992-18446744073709551615" }, { e:letters()[1].reason, e:letters()[1].id })
  end)

  it("may be hundreds", function()
    local commands = {}
    for n = 1, 10 do
      for i = 1, 300 do
        commands[#commands + 1] = { "XADD", "in:" .. i, n .. "-" .. i, "a", "1" }
      end
    end
    server:pipeline(commands)
    start { rules = { ["a.lua"] = engine.rule([[ctx.state.n = (ctx.state.n or 0) + 1]], 'stream = "in:*"') } }
    e:wait_done(20)
    assert.same({ n = 3000 }, e:state("a", ""))
    for i = 1, 300, 13 do
      assert.same({ 0, 10 }, { e:group_info("in:" .. i).lag, e:group_info("in:" .. i)["entries-read"] })
    end
  end)

  it("that a rule names later begin by --from; the others stay where they are", function()
    add("a", "1-1")
    start { rules = seen_rule '"a"' }
    seen { "a 1-1" }
    e:stop()
    add("a", "1-2")
    add("b", "1-1", "1-2")
    local text = seen_rule('{ "a", "b" }')["seen.lua"]
    require "spec.support.files".write_file(e.folder .. "/rules/seen.lua", text)
    e = e:another { from = "1-1" }
    seen { "a 1-1", "a 1-2", "b 1-2" }
  end)

  ---- other types ----

  it("whose name holds another type are left out and told; others go on; taken up when that changes", function()
    server:call("SET", "b", "text")
    add("a", "1-1")
    start { rules = seen_rule '{ "a", "b" }' }
    seen { "a 1-1" }
    local line = e:wait_logged "no_stream"
    assert.equal("b", line.stream)
    local streams = e:status().partitions[1].streams
    assert.same({ false, true }, { streams[1].left_out, streams[2].left_out })
    server:call("DEL", "b")
    add("b", "1-1")
    add("a", "1-2")
    e:wait_position("b", "1-1")
    e:wait_position("a", "1-2")
    assert.equal(3, server:call("LLEN", "seen"))
    e:wait_equal(false, function() return e:status().partitions[1].streams[2].left_out end)
    -- And the other way, while it runs.
    server:pipeline { { "MULTI" }, { "DEL", "b" }, { "SET", "b", "text" }, { "EXEC" } }
    e:wait_equal(true, function() return e:status().partitions[1].streams[2].left_out end)
    add("a", "1-3")
    e:wait_position("a", "1-3")
    server:call("DEL", "b")
    add("b", "1-1")
    e:wait_equal(5, function() return server:call("LLEN", "seen") end)
  end)

  ---- outputs ----

  it("that are written are bounded by outputs.maxlen, and JSON when asked", function()
    for n = 1, 2000 do
      server:call("XADD", "a", "1-" .. n, "n", n)
    end
    start { rules = { ["a.lua"] = engine.rule([[
      ctx.emit("short", { n = tonumber(event.n) })
      ctx.emit("text", { n = tonumber(event.n), list = { 1, "zwei", false }, empty = {} })]], 'stream = "a"') },
      settings = { outputs = { short = { maxlen = 150 }, text = { codec = "json" } } } }
    e:wait_position("a", "1-2000")
    local len = server:call("XLEN", "short")
    assert.is_true(len >= 150 and len < 350, len)
    assert.same({ n = 2000 }, e:emitted("short")[len])
    assert.equal(2000, server:call("XLEN", "text"))
    local json = require "dkjson"
    local last = server:entries("text")[2000].fields
    assert.same({ n = 2000, list = { 1, "zwei", false }, empty = {} }, json.decode(last.data))
    local names = {}
    for name in pairs(last) do
      names[#names + 1] = name
    end
    assert.same({ "data" }, names)
  end)

  it("that rules write and others read go through both in order", function()
    for n = 1, 500 do
      server:call("XADD", "a", "1-" .. n, "n", n)
    end
    start { rules = { ["a.lua"] = engine.rule([[ctx.emit("b", { n = tonumber(event.n) })]], 'stream = "a"'),
      ["b.lua"] = engine.rule([[ctx.redis.rpush("seen", event.n)]], 'stream = "b"') } }
    e:wait_equal(500, function() return server:call("LLEN", "seen") end)
    for n, text in ipairs(server:call("LRANGE", "seen", 0, -1)) do
      assert.equal(tostring(n), text)
    end
  end)

  it("are filtered by `when`, before all else", function()
    for n = 1, 6 do
      server:call("XADD", "a", "1-" .. n, "n", n, "type", n % 2 == 0 and "even" or n == 5 and "five" or "odd")
    end
    start { rules = { ["a.lua"] = engine.rule([[ctx.redis.rpush("seen", "a" .. event.n)]],
      'stream = "a", when = { type = { "even", "five" } }, event = { type = "string" }'),
      ["b.lua"] = engine.rule([[ctx.redis.rpush("seen", "b" .. event.n)]],
        'stream = "a", when = function(event) return event.type == "odd" end, key = "missing"') } }
    e:wait_position("a", "1-6")
    e:wait_done()
    assert.same({ "a2", "a4", "a5", "a6" }, server:call("LRANGE", "seen", 0, -1))
    assert.equal(2, #e:letters())
  end)
end)
