-- A rule whose state gets another shape: an engine with version 1, then one with version 2 of the same rule beside the same Redis.
local engine = require "spec.support.engine"
local files = require "spec.support.files"
local program = require "spec.support.program"
local redis = require "spec.support.redis"

local KEYS = 3000
local HEAD = 'stream = "orders", key = "k"'

local ONE = engine.rule([[ctx.state.count = (ctx.state.count or 0) + 1]], HEAD)

-- `migrate`: its body. `asks`: the handler runs in a coroutine.
local function two(migrate, asks, more)
  return engine.rule((asks and 'ctx.redis.get("x") ' or "") .. [[
    ctx.state.n = (ctx.state.n or 0) + 1
    if event.fail then error "handler" end]],
    HEAD .. (", state = { version = 2, migrate = function(old, from) %s end }%s"):format(migrate, more or ""))
end

local PLAIN = "return { n = old.count, from = from }"
local PICKY = [[if old.count == 2 then error("cannot take " .. old.count) end ]] .. PLAIN
local WITNESS = engine.rule([[ctx.state.seen = (ctx.state.seen or 0) + 1]], HEAD)

describe("a state of an earlier version", function()
  local server, e, sent

  before_each(function() server, sent = redis.start(), 0 end)

  after_each(function() e = engine.clear(server, e) end)

  -- One event for each of these keys; then everything is processed.
  local function feed(first, last, fields)
    local commands = {}
    for k = first, last do
      sent = sent + 1
      local event = { k = "k" .. k }
      for name, value in pairs(fields or {}) do
        event[name] = value
      end
      commands[#commands + 1] = { "XADD", "orders", "1-" .. sent, "data", engine.pack(event) }
    end
    server:pipeline(commands)
    e:wait_position("orders", "1-" .. sent)
    e:wait_done()
  end

  -- Version 1 has counted one event of each key, and a second one of the first hundred.
  local function with_version_one(settings)
    e = engine.start { server = server, rules = { ["rule.lua"] = ONE, ["witness.lua"] = WITNESS }, settings = settings }
    feed(1, KEYS)
    feed(1, 100)
    e:stop()
  end

  local function restart_with(text)
    files.write_file(e.folder .. "/rules/rule.lua", text)
    e = e:another()
  end

  local function version_of(key)
    return (select(3, e:state("rule", key)))
  end

  for _, asks in ipairs { false, true } do
    for _, settings in ipairs { {}, { state_cache_mb = 0, batch_events = 37 } } do
      local how = (asks and "in coroutines" or "straight") .. (settings.batch_events and ", without a cache" or "")

      it("is migrated when its key comes up again, " .. how, function()
        with_version_one(settings)
        restart_with(two(PLAIN, asks))
        feed(51, KEYS)
        feed(51, 60)
        assert.same({}, e:letters())
        for k = 1, KEYS, 7 do
          local count = k <= 100 and 2 or 1
          local expected = k <= 50 and { count = count } or { n = count + (k <= 60 and 2 or 1), from = 1 }
          assert.same({ expected, k <= 50 and 1 or 2 }, { e:state("rule", "k" .. k), version_of("k" .. k) })
          assert.equal(count + (k <= 50 and 0 or k <= 60 and 2 or 1), e:state("witness", "k" .. k).seen)
        end
      end)

      it("that cannot be migrated is a letter and stays; a retry after a fix works, " .. how, function()
        with_version_one(settings)
        restart_with(two(PICKY, asks))
        feed(1, KEYS)
        local letters = e:letters()
        assert.equal(100, #letters)
        for n, letter in ipairs(letters) do
          assert.same({ "rule", "migrate", "k" .. n, "rule.lua:3: cannot take 2", "rule.lua:3: in migrate", "1" },
            { letter.rule, letter.reason, letter.key, letter.message, letter.traceback, letter.attempts })
        end
        assert.same({ { count = 2 }, 1 }, { e:state("rule", "k100"), version_of "k100" })
        assert.same({ { n = 2, from = 1 }, 2 }, { e:state("rule", "k101"), version_of "k101" })
        assert.equal(3, e:state("witness", "k100").seen)
        e:stop()
        restart_with(two(PLAIN, asks))
        assert.equal("100 letters handed back to be retried\n",
          select(2, program.run { "dlq", "retry", "--all", "--reason", "migrate", "--group", "g", "--redis", server:url() }))
        e:wait_equal(0, function() return server:call("XLEN", e:key "inbox") end, 10, "the letters in the inbox")
        assert.same({}, e:letters())
        for k = 1, KEYS, 3 do
          assert.same({ n = k <= 100 and 3 or 2, from = 1 }, (e:state("rule", "k" .. k)))
        end
        assert.equal(3, e:state("witness", "k100").seen)
      end)
    end
  end

  it("stays when the handler fails", function()
    with_version_one()
    restart_with(two(PLAIN))
    feed(1, 10, { fail = true })
    assert.equal(10, #e:letters())
    assert.equal("error", e:letters()[1].reason)
    assert.same({ { count = 2 }, 1 }, { e:state("rule", "k1"), version_of "k1" })
    feed(1, 10)
    assert.same({ { n = 3, from = 1 }, 2 }, { e:state("rule", "k1"), version_of "k1" })
  end)

  it("stays when the rule stops at it, and is migrated once that works", function()
    with_version_one()
    restart_with(two(PICKY, false, ', on_error = "stop"'))
    sent = sent + 1
    server:call("XADD", "orders", "1-" .. sent, "data", engine.pack { k = "k7" })
    e:wait_logged "rule_stopped"
    assert.same({ {}, { count = 2 } }, { e:letters(), (e:state("rule", "k7")) })
    e:kill()
    restart_with(two(PLAIN, false, ', on_error = "stop"'))
    e:wait_position("orders", "1-" .. sent)
    assert.same({ n = 3, from = 1 }, (e:state("rule", "k7")))
  end)

  it("is refused by the version before: the newer one's state stays", function()
    with_version_one()
    restart_with(two(PLAIN))
    feed(1, 1)
    e:stop()
    restart_with(ONE)
    feed(1, 2)
    local letters = e:letters()
    assert.equal(1, #letters)
    assert.same({ "migrate", "k1", "rule.lua:2: the state of this key has version 2, this rule knows up to 1: "
      .. "a newer version of the rule wrote it" }, { letters[1].reason, letters[1].key, letters[1].message })
    assert.same({ { n = 3, from = 1 }, 2 }, { e:state("rule", "k1"), version_of "k1" })
    assert.same({ count = 3 }, (e:state("rule", "k2")))
  end)

  it("that the shell sets is of the version it says", function()
    with_version_one()
    restart_with(two(PLAIN))
    local function set(key, json, version)
      assert.equal(0, (program.run { "state", "set", "rule", key, json, "--state-version", version, "--group", "g", "--redis",
        server:url() }))
    end
    set("k1", '{"n":40}', "2")
    set("new", '{"count":50}', "1")
    feed(1, 1)
    assert.same({ n = 41 }, (e:state("rule", "k1")))
    sent = sent + 1
    server:call("XADD", "orders", "1-" .. sent, "data", engine.pack { k = "new" })
    e:wait_position("orders", "1-" .. sent)
    assert.same({ n = 51, from = 1 }, (e:state("rule", "new")))
  end)
end)
