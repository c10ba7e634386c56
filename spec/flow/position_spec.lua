-- Where streams begin, where they stand, and what happens when that is lost (design 4, part 6, and 3.1 --from).
local engine = require "spec.support.engine"
local redis = require "spec.support.redis"

-- Pushes the ID of each event on a list; state counts.
local RULES = { ["seen.lua"] = engine.rule([[
  ctx.state.n = (ctx.state.n or 0) + 1
  ctx.redis.rpush("seen", ctx.stream .. " " .. ctx.id)]], 'stream = { "orders", "other" }') }

describe("the position", function()
  local server, e

  before_each(function() server = redis.start() end)

  after_each(function() e = engine.clear(server, e) end)

  local function add(stream, ...)
    for _, id in ipairs { ... } do
      server:call("XADD", stream, id, "a", "1")
    end
  end

  local function start(options)
    options = options or {}
    options.server = server
    options.rules = not options.folder and (options.rules or RULES) or nil
    e = engine.start(options)
    return e
  end

  local function again(options)
    options = options or {}
    options.folder = e.folder
    e:stop()
    return start(options)
  end

  local function seen(...)
    local expected = { ... }
    e:wait_equal(#expected, function() return server:call("LLEN", "seen") end, 5, "the number of events")
    e:wait_done()
    assert.same(expected, server:call("LRANGE", "seen", 0, -1))
  end

  describe("begins", function()
    before_each(function()
      add("orders", "5-1", "5-2", "7-1")
    end)

    for _, case in ipairs {
      { "start", "orders 5-1", "orders 5-2", "orders 7-1", "orders 8-1" }, { "end", "orders 8-1" },
      { "0", "orders 5-1", "orders 5-2", "orders 7-1", "orders 8-1" },
      { "5-1", "orders 5-2", "orders 7-1", "orders 8-1" }, { "6", "orders 7-1", "orders 8-1" },
      { "99999-0", "orders 8-1" },
    } do
      it("at --from " .. case[1], function()
        start { from = case[1] }
        e:wait_owner()
        add("orders", "8-1")
        seen(unpack(case, 2))
      end)
    end

    it("at the end when nothing is said", function()
      start { from = false }
      e:wait_owner()
      add("orders", "8-1")
      seen "orders 8-1"
      assert.equal("0-0", e:position "other")
    end)

    it("once: a later --from means nothing to a stream that was resolved, also when it did not exist", function()
      start { from = "end" }
      e:wait_owner()
      again { from = "start" }:wait_owner()
      add("orders", "8-1")
      add("other", "1-1")
      seen("orders 8-1", "other 1-1")
    end)

    it("with streams that do not exist yet: all of what comes", function()
      server:call("DEL", "orders")
      start { from = "end" }
      e:wait_owner()
      assert.same({ "0-0", "0-0" }, { e:position "orders", e:position "other" })
      add("other", "3-1")
      seen "other 3-1"
      assert.equal(0, server:call("EXISTS", "orders"))
    end)

    it("from a settings file, where the flag does not say otherwise", function()
      start { from = false, settings = { from = "start" } }
      seen("orders 5-1", "orders 5-2", "orders 7-1")
    end)
  end)

  it("is seen in ctl and in XINFO GROUPS, with a lag of 0", function()
    start()
    e:wait_owner()
    for round = 1, 5 do
      add("orders", round .. "-1", round .. "-2")
      e:wait_position("orders", round .. "-2")
      local info = e:group_info "orders"
      assert.same({ round .. "-2", round * 2, 0, 0, 0 }, { info["last-delivered-id"], info["entries-read"], info.lag, info.pending,
        info.consumers })
      assert.equal(tostring(round * 2), e:ctl "read:orders")
    end
    assert.equal("0", e:ctl "read:other")
    assert.equal(-1, server:call("TTL", e:key "ctl"))
    assert.equal("1", e:ctl "layout")
    assert.is_nil(e:group_info "orders".idle)
  end)

  it("counts entries from an end in the middle: --from ID, then the tail", function()
    add("orders", "1-1", "1-2", "1-3", "1-4")
    start { from = "1-2" }
    e:wait_position("orders", "1-4")
    e:wait_equal(0, function() return e:group_info("orders").lag end, 5, "the lag")
    e:wait_equal(4, function() return e:group_info("orders")["entries-read"] end, 5, "entries-read")
    assert.equal("4", e:ctl "read:orders")
    e:stop()
    add("orders", "1-5")
    assert.equal(1, e:group_info("orders").lag)
  end)

  it("is shown again when somebody destroys the group", function()
    start()
    add("orders", "1-1")
    e:wait_position("orders", "1-1")
    server:call("XGROUP", "DESTROY", "orders", "g")
    add("orders", "1-2")
    e:wait_position("orders", "1-2")
    add("orders", "1-3")
    e:wait_position("orders", "1-3")
    e:wait_equal("1-3", function() return (e:group_info "orders" or {})["last-delivered-id"] end)
    e:wait_equal(0, function() return e:group_info("orders").lag end)
    seen("orders 1-1", "orders 1-2", "orders 1-3")
  end)

  it("is taken from a consumer group that is there already, and its pending entries are told", function()
    add("orders", "1-1", "1-2", "1-3", "1-4")
    server:call("XGROUP", "CREATE", "orders", "g", "0")
    server:call("XREADGROUP", "GROUP", "g", "someone", "COUNT", 3, "STREAMS", "orders", ">")
    server:call("XACK", "orders", "g", "1-1")
    start { from = "end" }
    seen "orders 1-4"
    local line = e:wait_logged "group_pending"
    assert.same({ "orders", "g", "2", "warn" }, { line.stream, line.group, line.pending, line.level })
    assert.matches("XPENDING and XCLAIM", line.message)
    assert.equal("1-3", e:logged("group_found")[1].position)
    local info = e:group_info "orders"
    assert.same({ 2, "1-4", 4, 0 }, { info.pending, info["last-delivered-id"], info["entries-read"], info.lag })
  end)

  ---- lost ----

  it("lost with FLUSHALL: everything new is read, nothing old is remembered, --from is not asked", function()
    add("orders", "5-1", "5-2")
    start()
    seen("orders 5-1", "orders 5-2")
    again { from = "end" }:wait_owner()
    server:call "FLUSHALL"
    add("orders", "1-1", "1-2", "1-3")
    seen("orders 1-1", "orders 1-2", "orders 1-3")
    assert.same({ n = 3 }, e:state("seen", ""))
    local line = e:wait_logged "position_lost"
    assert.equal("error", line.level)
    e:wait_equal(0, function() return e:group_info("orders").lag end)
    assert.equal(1, server:call("EXISTS", e:key "lease"))
  end)

  it("lost with DEL ctl while it runs: goes on from the group's", function()
    add("orders", "5-1", "5-2")
    start { from = "start" }
    seen("orders 5-1", "orders 5-2")
    server:call("DEL", e:key "ctl")
    add("orders", "5-3")
    seen("orders 5-1", "orders 5-2", "orders 5-3")
    assert.same({ n = 3 }, e:state("seen", ""))
    assert.equal("5-2", e:wait_logged("position_lost").position)
    assert.is_nil(e:logged("position_lost")[3])
  end)

  it("lost while it is down, with the group there: goes on from the group's, never from --from", function()
    add("orders", "5-1", "5-2")
    start()
    seen("orders 5-1", "orders 5-2")
    e:stop()
    server:call("DEL", e:key "ctl")
    add("orders", "5-3")
    start { folder = e.folder, from = "end" }
    seen("orders 5-1", "orders 5-2", "orders 5-3")
  end)

  it("lost when its fence is taken out of ctl: goes on, and from where it was", function()
    add("orders", "5-1")
    start()
    seen "orders 5-1"
    server:call("HDEL", e:key "ctl", "fence")
    add("orders", "5-2")
    seen("orders 5-1", "orders 5-2")
  end)

  ---- streams that change under it ----

  it("of a stream that was trimmed while we were away: counted exactly at the tail, and told", function()
    add("orders", "1-1", "1-2")
    start()
    seen("orders 1-1", "orders 1-2")
    e:stop()
    for n = 3, 12 do
      add("orders", "1-" .. n)
    end
    server:call("XTRIM", "orders", "MAXLEN", 3)
    start { folder = e.folder }
    seen("orders 1-1", "orders 1-2", "orders 1-10", "orders 1-11", "orders 1-12")
    local total = 0
    e:wait_true(function()
      total = 0
      for _, line in ipairs(e:logged "entries_lost") do
        assert.equal("orders", line.stream)
        total = total + tonumber(line.lost or line.lost_at_least)
      end
      return total == 7
    end, 5, "7 entries told as lost")
    e:wait_equal(0, function() return e:group_info("orders").lag end)
    assert.equal(12, e:group_info("orders")["entries-read"])
    assert.equal(7, e:status().partitions[1].streams[1].lost)
  end)

  it("of a stream that was trimmed to nothing", function()
    add("orders", "1-1")
    start()
    seen "orders 1-1"
    e:stop()
    add("orders", "1-2", "1-3")
    server:call("XTRIM", "orders", "MAXLEN", 0)
    start { folder = e.folder }
    e:wait_owner()
    add("orders", "1-4")
    seen("orders 1-1", "orders 1-4")
    local total = 0
    e:wait_true(function()
      total = 0
      for _, line in ipairs(e:logged "entries_lost") do
        total = total + tonumber(line.lost or line.lost_at_least)
      end
      return total == 2
    end, 5, "2 entries told as lost")
  end)

  it("of a stream of which entries were deleted behind us: nothing is lost", function()
    add("orders", "1-1", "1-2", "1-3")
    start()
    seen("orders 1-1", "orders 1-2", "orders 1-3")
    server:call("XDEL", "orders", "1-1", "1-2")
    add("orders", "1-4")
    seen("orders 1-1", "orders 1-2", "orders 1-3", "orders 1-4")
    e:wait_equal(0, function() return e:group_info("orders").lag end)
    assert.equal(4, e:group_info("orders")["entries-read"])
    assert.same({}, e:logged "entries_lost")
  end)

  it("of a stream made anew while we were away, with lower IDs", function()
    add("orders", "9-1", "9-2")
    start()
    seen("orders 9-1", "orders 9-2")
    e:stop()
    server:call("DEL", "orders")
    add("orders", "2-1", "2-2")
    start { folder = e.folder }
    seen("orders 9-1", "orders 9-2", "orders 2-1", "orders 2-2")
    local line = e:wait_logged "stream_made_anew"
    assert.same({ "orders", "9-2" }, { line.stream, line.position })
    assert.equal(2, e:group_info("orders")["entries-read"])
  end)

  it("of a stream made anew while we read, with lower IDs", function()
    add("orders", "9-1", "9-2")
    start()
    seen("orders 9-1", "orders 9-2")
    server:pipeline { { "MULTI" }, { "DEL", "orders" }, { "XADD", "orders", "2-1", "a", "1" }, { "EXEC" } }
    seen("orders 9-1", "orders 9-2", "orders 2-1")
    add("orders", "2-2")
    seen("orders 9-1", "orders 9-2", "orders 2-1", "orders 2-2")
    assert.is_truthy(e:wait_logged "stream_made_anew")
    e:wait_equal(0, function() return (e:group_info("orders") or {}).lag end)
  end)

  it("of a stream made anew while we read, with higher IDs", function()
    add("orders", "9-1", "9-2")
    start()
    seen("orders 9-1", "orders 9-2")
    server:pipeline { { "MULTI" }, { "DEL", "orders" }, { "XADD", "orders", "12-1", "a", "1" }, { "EXEC" } }
    seen("orders 9-1", "orders 9-2", "orders 12-1")
    e:wait_equal(0, function() return (e:group_info("orders") or {}).lag end)
    assert.equal(1, e:group_info("orders")["entries-read"])
    assert.same({}, e:logged "entries_lost")
  end)

  it("of a stream that is trimmed while we are behind: counted, and told", function()
    for n = 1, 20 do
      add("orders", "1-" .. n)
    end
    start { settings = { batch_events = 5 } }
    e:wait_position("orders", "1-20")
    e:signal "STOP"
    local commands = {}
    for n = 21, 5000 do
      commands[#commands + 1] = { "XADD", "orders", "1-" .. n, "a", "1" }
    end
    server:pipeline(commands)
    server:call("XTRIM", "orders", "MAXLEN", 1000)
    e:signal "CONT"
    e:wait_position("orders", "1-5000")
    e:wait_done()
    -- An XREAD that waited in Redis has brought the first new entries already: what is missing is lost, and no more.
    local missing = 5000 - server:call("LLEN", "seen")
    assert.is_true(missing > 3900 and missing <= 3980, missing)
    e:wait_equal(missing, function() return e:status().partitions[1].streams[1].lost end, 5, "the number that is told as lost")
    e:wait_equal(0, function() return e:group_info("orders").lag end)
    assert.equal(5000, e:group_info("orders")["entries-read"])
  end)

  ---- other types in place of the engine's own keys ----

  for _, name in ipairs { "ctl", "dlq" } do
    it("is not taken when something else stands at " .. name, function()
      add("orders", "1-1")
      server:call("SET", "tidemill:g:" .. name, "text")
      start()
      e:expect(1)
      assert.matches("tidemill:g:" .. name .. ": WRONGTYPE", e:logged("fatal")[1].message)
      assert.equal(0, server:call("EXISTS", "seen"))
    end)
  end

  it("is not moved on when something else stands at a state", function()
    server:call("SET", "tidemill:g:state:seen", "text")
    add("orders", "1-1")
    start()
    e:expect(1)
    assert.matches("WRONGTYPE", e:logged("fatal")[1].message)
    assert.equal("0-0", e:position "orders")
    assert.equal(0, server:call("EXISTS", "seen"))
  end)

  it("is held as soon as something else stands at one of the engine's keys", function()
    add("orders", "1-1")
    start()
    seen "orders 1-1"
    server:pipeline { { "MULTI" }, { "DEL", e:key "state:seen" }, { "SET", e:key "state:seen", "text" }, { "EXEC" } }
    add("orders", "1-2")
    e:expect(1)
    assert.matches("own keys.*state:seen.*WRONGTYPE.*delete or rename", e:logged("fatal")[1].message)
  end)
end)
