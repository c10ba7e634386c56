-- tree.lua: an engine is a supervisor and its workers: specs that stop or kill "the engine" mean all of them.
--
--   tree.workers(process)            -- pids of its workers, in the order of their numbers
--   tree.signal(process, "STOP")     -- to the supervisor and to all workers
--   tree.kill(process)               -- SIGKILL to all: nobody drains, nobody is replaced
local ffi = require "ffi"
local files = require "spec.support.files"
local wait = require "spec.support.wait"

local tree = {}

local NUMBERS = { KILL = 9, TERM = 15, CONT = 18, STOP = 19, ABRT = 6, SEGV = 11, HUP = 1, INT = 2 }

-- The pids of a process' children. A file of /proc tells no size: it is read until its end.
function tree.children(pid)
  local list = {}
  local file = io.open(("/proc/%d/task/%d/children"):format(pid, pid))
  if file then
    for word in file:read("*a"):gmatch "%d+" do
      list[#list + 1] = tonumber(word)
    end
    file:close()
  end
  return list
end

-- "R", "S", "T" …; nil when it is gone.
function tree.state(pid)
  local stat = files.read_file("/proc/" .. pid .. "/stat")
  return stat and stat:match "^.*%) (%S)"
end

function tree.is_alive(pid)
  local state = tree.state(pid)
  return state ~= nil and state ~= "Z" and state ~= "X"
end

function tree.workers(process)
  local found = {}
  for _, pid in ipairs(tree.children(process.pid)) do
    local number = (files.read_file("/proc/" .. pid .. "/comm") or ""):match "^tidemill w(%d+)"
    if number and tree.is_alive(pid) then
      found[#found + 1] = { pid = pid, number = tonumber(number) }
    end
  end
  table.sort(found, function(a, b) return a.number < b.number end)
  local pids = {}
  for i, worker in ipairs(found) do
    pids[i] = worker.pid
  end
  return pids
end

function tree.send(pid, name)
  return ffi.C.kill(pid, NUMBERS[name] or assert(tonumber(name), name))
end

-- A stop comes to the supervisor first, so that it sees none of its workers stand still; going on, they come before it.
function tree.signal(process, name)
  if name ~= "CONT" then
    process:signal(name)
  end
  for _, pid in ipairs(tree.workers(process)) do
    tree.send(pid, name)
  end
  if name == "CONT" then
    process:signal(name)
  end
end

function tree.kill(process)
  if not process:is_running() then
    return
  end
  process:signal "STOP"
  wait.until_true(function() return tree.state(process.pid) == "T" or not process:is_running() end, 5, "a stopped supervisor")
  local workers = tree.workers(process)
  for _, pid in ipairs(workers) do
    tree.send(pid, "KILL")
  end
  process:kill()
  wait.until_true(function()
    for _, pid in ipairs(workers) do
      if tree.is_alive(pid) then
        return false
      end
    end
    return true
  end, 5, "the end of all workers")
end

return tree
