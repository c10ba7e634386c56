-- world.lua: a Redis, the proxy before it, two engines behind that, and an oracle that feeds them.
--
--   local world = require("spec.chaos.world").create { seed = 1 }
--   world:flow(function() return world:processed() > 500 end, "500 events")   -- feeds while it waits
--   world:owner():signal("KILL")
--   world:finish()                                                           -- {} when every count is exact
--
-- Options: seed; redis (lines of redis.conf); binary (of the engines); engines (how many, default 2); batch_events.
local files = require "spec.support.files"
local oracle = require "spec.chaos.oracle"
local process = require "spec.support.process"
local proxy = require "spec.support.proxy"
local redis = require "spec.support.redis"
local wait = require "spec.support.wait"

local world = {}
local World = {}
World.__index = World

local GROUP, CTL = "chaos", "tidemill:chaos:ctl"
local CHUNK, FLOW_S = 100, 40
local here = io.popen("pwd"):read("*l")

local SETTINGS = [[
return {
  group = "chaos", lease_ms = 400, batch_events = %d,
  limits = { rule_ms = 50, hard_ms = 100 },
  outputs = { offers = { codec = "json" }, milestones = { codec = "json" }, checks = { codec = "json" } },
}
]]

local function absolute(path)
  return path:sub(1, 1) == "/" and path or here .. "/" .. path
end

function world.create(options)
  local self = setmetatable({ options = options, engines = {}, started = 0, fed = 0, allowance = 0 }, World)
  self.folder = files.temp_folder()
  self.binary = absolute(options.binary or os.getenv("TIDEMILL_BIN")
    or ("build/%s/tidemill"):format(os.getenv("VARIANT") or "release"))
  files.write_file(self.folder .. "/settings.lua", SETTINGS:format(options.batch_events or 100))
  self.server = redis.start { config = options.redis or {} }
  self.proxy = proxy.start(self.server)
  self.oracle = oracle.create(options.seed, GROUP)
  self.oracle:prepare(self.server)
  for i = 1, options.engines or 2 do
    self:start(i)
  end
  return self
end

-- Starts the engine in that place. `env`: changes to its environment.
function World:start(place, env)
  self.started = self.started + 1
  local name = ("%s/engine-%d"):format(self.folder, self.started)
  self.engines[place] = process.start { self.binary, "run", "--redis", self.proxy:url(), "--rules", here .. "/spec/chaos/rules",
    "--config", self.folder .. "/settings.lua", "--from", "start", "--http", "off", "--control", name .. ".sock",
    folder = self.folder, env = env, stdout = name .. ".out", stderr = name .. ".err" }
  return self.engines[place]
end

---- looking ----

function World:ctl(field)
  return self.server:call("HGET", CTL, field)
end

function World:commits()
  return tonumber(self:ctl("commits") or 0)
end

-- Events whose effects are committed.
function World:processed()
  local sum = 0
  for _, read in ipairs(self.server:call("HMGET", CTL, "read:orders", "read:visits", "read:clicks")) do
    sum = sum + (tonumber(read) or 0)
  end
  return sum
end

-- The engine whose fence stands, and its place; nil while it cannot be told. Each engine writes its fences into its log.
function World:owner()
  local fence = self:ctl("fence")
  for place, engine in pairs(self.engines) do
    if fence and engine:stderr():find(fence, 1, true) then
      return engine, place
    end
  end
end

function World:wait_owner()
  self:flow(function() return self:owner() end, "an owner")
  return self:owner()
end

---- flowing ----

function World:feed(count)
  self.server:pipeline(self.oracle:feed(count))
  self.fed = self.fed + count
end

function World:check_engines()
  for place, engine in pairs(self.engines) do
    if not engine:is_running() then
      local status = engine:wait(0)
      error(("engine %d ended by itself with %s %s: %s"):format(place, next(status), tostring(select(2, next(status))),
        engine:stderr():sub(-1500)), 2)
    end
  end
end

-- Waits for a fact; until then events are fed, up to `allowance` in all.
function World:flow(fact, what)
  local limit = wait.now() + FLOW_S
  while true do
    local value = fact()
    if value then
      return value
    end
    self:check_engines()
    if self.fed < self.allowance then
      self:feed(math.min(CHUNK, self.allowance - self.fed))
    else
      wait.sleep(0.001)
    end
    if wait.now() > limit then
      local said = {}
      for place, engine in pairs(self.engines) do
        said[#said + 1] = ("engine %d: %s"):format(place, engine:stderr():sub(-1500))
      end
      error(("waited %ds for %s; %d of %d processed\n%s"):format(FLOW_S, what, self:processed(), self.fed,
        table.concat(said, "\n")), 2)
    end
  end
end

-- Until so many more events are done, or all of them.
function World:flow_on(events)
  local target = self:processed() + events
  self:flow(function()
    local done = self:processed()
    return done >= target or (self.fed >= self.allowance and done >= #self.oracle.events)
  end, events .. " events more")
end

---- the end ----

-- True when every event is done and nothing is left to tell.
function World:is_done()
  return self.fed >= self.allowance and self:processed() >= #self.oracle.events and not self:ctl("unverified")
end

-- Runs the program to its end, beside the engines.
function World:run(...)
  local options = { self.binary, ... }
  options.env, options.folder = { REDIS_URL = self.server:url() }, self.folder
  local code, out, err = process.run(options)
  assert(code == 0, err)
  return out
end

-- Waits until all is done, stops the engines cleanly, and asks the oracle. Returns its differences, and how many letters
-- `unverified` there are.
function World:finish(judge)
  self:flow(function() return self:is_done() end, "the end")
  for _, engine in pairs(self.engines) do
    engine:signal("TERM")
  end
  for _, engine in pairs(self.engines) do
    engine:expect(0, 5)
  end
  return (judge or self.oracle.differences)(self.oracle, self.server)
end

function World:close()
  for _, engine in pairs(self.engines) do
    engine:kill()
  end
  self.proxy:stop()
  self.server:stop()
  if not os.getenv("KEEP") then
    files.remove_folder(self.folder)
  end
end

return world
