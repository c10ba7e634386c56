-- world.lua: a Redis, the proxy before it, two engines behind that, and an oracle that feeds them.
--
--   local world = require("spec.chaos.world").create { seed = 1 }
--   world:flow(function() return world:processed() > 500 end, "500 events")   -- feeds while it waits
--   world:kill(1)
--   world:finish()                                                           -- {} when every count is exact
--
-- The engine in each place has a rules folder of its own, a copy of rules/ that edits.lua changes while it runs.
--
-- `patience_s`, how long finish waits for the last timers and windows, may be set.
--
-- Options: seed; redis (lines of redis.conf); binary (of the engines); engines (how many, default 2); batch_events.
local decided = require "spec.chaos.decided"
local files = require "spec.support.files"
local oracle = require "spec.chaos.oracle"
local process = require "spec.support.process"
local proxy = require "spec.support.proxy"
local redis = require "spec.support.redis"
local tree = require "spec.support.tree"
local wait = require "spec.support.wait"

local world = {}
local World = {}
World.__index = World

local GROUP, CTL = "chaos", "tidemill:chaos:ctl"
local CHUNK, FLOW_S = 100, 40
local here = io.popen("pwd"):read("*l")

local SETTINGS = [[
return {
  group = "chaos", lease_ms = 400, batch_events = %d, shadow_maxlen = 100000000, record = %.17g,
  record_maxlen = 100000000,
  limits = { rule_ms = 50, hard_ms = 100 },
  outputs = { offers = { codec = "json" }, milestones = { codec = "json" }, checks = { codec = "json" },
    marks = { codec = "json" }, silences = { codec = "json" }, beats = { codec = "json" }, sessions = { codec = "json" } },
}
]]

local function absolute(path)
  return path:sub(1, 1) == "/" and path or here .. "/" .. path
end

function world.create(options)
  local self = setmetatable({ options = options, engines = {}, started = 0, fed = 0, allowance = 0, tallies = {},
    aborted = {} }, World)
  self.folder = files.temp_folder()
  self.binary = absolute(options.binary or os.getenv("TIDEMILL_BIN")
    or ("build/%s/tidemill"):format(os.getenv("VARIANT") or "release"))
  files.write_file(self.folder .. "/settings.lua", SETTINGS:format(options.batch_events or 100, decided.SHARE))
  self.server = redis.start { config = options.redis or {} }
  self.proxy = proxy.start(self.server)
  self.oracle = oracle.create(options.seed, GROUP)
  self.oracle:prepare(self.server)
  for i = 1, options.engines or 2 do
    self:start(i)
  end
  return self
end

-- The rules folder of a place.
function World:rules(place)
  return ("%s/rules-%d"):format(self.folder, place)
end

local function log_name(self, number)
  return ("%s/engine-%d"):format(self.folder, number)
end

-- Starts the engine in that place. `env`: changes to its environment.
function World:start(place, env)
  self.started = self.started + 1
  local name, rules = log_name(self, self.started), self:rules(place)
  if not files.exists(rules) then
    os.execute(("cp -R spec/chaos/rules %s"):format(files.quote(rules)))
  end
  self.engines[place] = process.start { self.binary, "run", "--redis", self.proxy:url(), "--rules", rules, "--config",
    self.folder .. "/settings.lua", "--from", "start", "--http", "off", "--control", name .. ".sock", folder = self.folder,
    env = env, stdout = name .. ".out", stderr = name .. ".err" }
  return self.engines[place]
end

-- All processes of the engine in that place die.
function World:kill(place)
  tree.kill(self.engines[place])
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
  local engine, place
  self:flow(function()
    engine, place = self:owner()
    return engine
  end, "an owner")
  return engine, place
end

-- The lines of all engines, also of those that have ended, which hold `text`.
function World:lines(text)
  local found = {}
  for number = 1, self.started do
    for line in (files.read_file(log_name(self, number) .. ".err") or ""):gmatch "[^\n]+" do
      if line:find(text, 1, true) then
        found[#found + 1] = line
      end
    end
  end
  return found
end

-- How often engines other than that one, also those that have ended, have got the partition.
function World:takeovers_from(engine)
  local _, own = engine:stderr():gsub(" acquired ", "")
  return #self:lines " acquired " - own
end

-- SIGABRT to a worker.
function World:abort(pid)
  self.aborted[tostring(pid)] = true
  tree.send(pid, "ABRT")
end

-- What the engines blame for aborts that were ours: true by "STREAM ID RULE", or by "fired DUE RULE" where it was in a timer or
-- window. Each is told before the end of its worker.
function World:blamed()
  local blamed, name = {}, nil
  for _, line in ipairs(self:lines " error ") do
    local rule, stream, id = line:match " error blamed .- rule=(%S+) .-stream=(%S*) id=(%S+)"
    if rule then
      local is_fired = stream == "" or stream == '""'
      name = ("%s %s %s"):format(is_fired and "fired" or stream, is_fired and id:match "^%d+" or id, rule)
    elseif line:find(" worker_ended ", 1, true) then
      if name and self.aborted[line:match " pid=(%d+)"] then
        blamed[name] = true
      end
      name = nil
    end
  end
  return blamed
end

-- Is an entry committed?
function World:is_past(stream, id)
  local at = self:ctl("offset:" .. stream)
  return at and not oracle.is_above(id, at)
end

-- Is what is blamed committed, by its name?
function World:is_over(name)
  local stream, id, rule = name:match "^(%S+) (%S+) (%S+)$"
  if stream ~= "fired" then
    return self:is_past(stream, id)
  end
  for _, kind in ipairs { "wall", "window" } do
    if self.server:call("ZCOUNT", ("tidemill:%s:timers:%s:%s"):format(GROUP, rule, kind), "-inf", id) > 0 then
      return false
    end
  end
  return true
end

-- Counts what happened, for the sum at the end.
function World:tally(what)
  self.tallies[what] = (self.tallies[what] or 0) + 1
end

-- "aborts in a rule 3, edit burst 2"
function World:tell_tallies()
  local parts = {}
  for what, count in pairs(self.tallies) do
    parts[#parts + 1] = what .. " " .. count
  end
  table.sort(parts)
  return table.concat(parts, ", ")
end

---- flowing ----

local function add(self, commands)
  self.fed = self.fed + #commands
  return self.oracle:learn(self.server:pipeline(commands))
end

function World:feed(count)
  add(self, self.oracle:feed(count))
end

-- An event that a rule never comes back from; its ID. `reason` of the letter that it must be: "hang", or "any".
function World:feed_bomb(reason)
  return add(self, { self.oracle:feed_pattern(reason) })[1]
end

-- So many events that keep a rule busy; the ID of the first.
function World:feed_heavy(count)
  local commands = {}
  for i = 1, count do
    commands[i] = self.oracle:feed_pattern()
  end
  return add(self, commands)[1]
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

-- Waits for a fact; until then events are fed, up to `allowance` in all: but while `is_generous`, never so few that all are done.
function World:flow(fact, what)
  local limit = wait.now() + FLOW_S
  while true do
    local value = fact()
    if value then
      return value
    end
    self:check_engines()
    if self.is_generous and self.fed >= self.allowance and self:processed() >= #self.oracle.events then
      self.allowance = self.fed + CHUNK
    end
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

-- Waits until all is done, stops the engines cleanly, and asks the oracle. Returns its differences, and counts of letters.
function World:finish(judge)
  self:flow(function() return self:is_done() end, "the end")
  add(self, { self.oracle:feed_end() })
  self.allowance = math.max(self.allowance, self.fed)
  self:flow(function() return self:is_done() end, "the event that ends all sessions")
  local pending = self.oracle:pending_keys()
  pcall(wait.until_true, function() return self.server:call(unpack(pending)) == 0 end, self.patience_s or FLOW_S) -- the oracle looks
  for _, engine in pairs(self.engines) do
    engine:signal("TERM")
  end
  for _, engine in pairs(self.engines) do
    engine:expect(0, 5)
  end
  self.oracle.blamed = self:blamed()
  return (judge or self.oracle.differences)(self.oracle, self.server)
end

function World:close()
  for _, engine in pairs(self.engines) do
    tree.kill(engine)
  end
  self.proxy:stop()
  self.server:stop()
  if not os.getenv("KEEP") then
    files.remove_folder(self.folder)
  end
end

return world
