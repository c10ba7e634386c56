-- proxy.lua: drives the chaos proxy (spec/chaos/proxy.c says what its orders mean).
--
--   local proxy = require("spec.support.proxy").start(server)
--   engine: --redis proxy:url()
--   proxy:hold { ms = 200, with = "XGROUP" }
--   proxy:cut()
--   proxy:count().landed
local files = require "spec.support.files"
local peer = require "spec.support.peer"
local process = require "spec.support.process"
local wait = require "spec.support.wait"

local proxy = {}
local Proxy = {}
Proxy.__index = Proxy

local function program()
  local path = os.getenv("TIDEMILL_PROXY")
    or ("build/%s/spec/proxy"):format(os.getenv("VARIANT") or "release")
  assert(files.exists(path), path .. " is missing: make " .. path)
  return path
end

-- Starts a proxy before `server` (of spec.support.redis).
function proxy.start(server)
  local folder = files.temp_folder()
  local self = setmetatable({ folder = folder, socket = folder .. "/proxy.sock" }, Proxy)
  local control = folder .. "/control.sock"
  self.process = process.start { program(), self.socket, server.socket, control,
    stderr = folder .. "/stderr" }
  self.control = wait.until_true(function() return peer.connect(control) end, 5,
    "the proxy to listen")
  return self
end

-- unix://…; `rest` such as "?db=2"; `who` such as "user:password@".
function Proxy:url(rest, who)
  return "unix://" .. (who or "") .. self.socket .. (rest or "")
end

-- One line to the proxy; returns what stands behind "ok" in its answer.
function Proxy:order(line)
  assert(self.control:write(line .. "\n"), "the proxy is gone: " .. self.process:stderr())
  wait.until_true(function() return self.control:read():find("\n", 1, true) end, 5,
    "the proxy's answer to " .. line)
  local answer = self.control:take()
  assert(answer:sub(1, 2) == "ok", line .. ": " .. answer)
  return answer:sub(4, -2)
end

local function transaction_order(what, options)
  options = options or {}
  return what .. (options.ms and " " .. options.ms or "")
    .. (options.with and " with=" .. options.with or "")
end

-- Ends all connections at once.
function Proxy:cut()
  self:order("cut")
end

-- Everything takes this much longer, each way.
function Proxy:delay(ms)
  self:order("delay " .. ms)
end

-- Keeps the next EXEC back and cuts its client off. Options: `ms` until it reaches Redis (default:
-- at release), `with`: only a transaction with that command, `whole`: from MULTI on.
function Proxy:hold(options)
  self:order(transaction_order(options and options.whole and "hold MULTI" or "hold EXEC", options))
end

-- Loses the reply of the next EXEC, and its connection. Options: `with`.
function Proxy:swallow(options)
  self:order(transaction_order("swallow EXEC", options and { with = options.with }))
end

function Proxy:release()
  self:order("release")
end

function Proxy:disarm()
  self:order("disarm")
end

-- What has happened so far: cut, hold, release, landed (held transactions that took effect), fenced
-- (that answered nil), lost (that answered an error, or nothing), swallow, connections, execs.
function Proxy:count()
  local counts = {}
  for name, number in self:order("count"):gmatch("(%w+)=(%d+)") do
    counts[name] = tonumber(number)
  end
  return counts
end

function Proxy:stop()
  self.control:close()
  self.process:signal("TERM")
  self.process:expect(0, 5)
  files.remove_folder(self.folder)
end

return proxy
