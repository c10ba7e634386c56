-- The example rules over many events of the demo's generator: long enough for LuaJIT to compile all of the kernel's ways, those
-- through coroutines too. With the C stack where Linux puts it, instead of below 4 GB (sandbox/stack.h), the LuaJIT of Debian 12
-- crashes here within a second.
local engine = require "spec.support.engine"
local files = require "spec.support.files"
local redis = require "spec.support.redis"
local program = require "spec.support.program"

local EVENTS = 100000

describe("rules compiled by LuaJIT", function()
  it("survive " .. EVENTS .. " events with lookups, states and emits", function()
    local server = redis.start {}
    finally(function() server:stop() end)
    local rules = {}
    for _, name in ipairs { "pricing.lua", "personalization.lua", "fraud.lua" } do
      rules[name] = files.read_file("examples/rules/" .. name)
    end
    local made = os.execute(("luajit scripts/demo.d/generate.lua --events %d --bad 0 --send '%s send --redis %s' >/dev/null 2>&1")
      :format(EVENTS, program.path(), server:url()))
    assert.equal(0, made == true and 0 or made)
    local e = engine.start { server = server, rules = rules }
    e:wait_done(60)
    assert.same({}, e:letters())
    e:stop()
    local total = 0
    for _, stream in ipairs { "browse", "purchase", "payment" } do
      total = total + server:call("HGET", "tidemill:g:ctl", "read:" .. stream)
    end
    assert.equal(EVENTS - server:call("XLEN", "cart"), total)
  end)
end)
