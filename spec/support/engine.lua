-- engine.lua: a real `tidemill run` beside a real redis-server, and what specs ask of both.
--
--   local e = engine.start { server = server, rules = { ["count.lua"] = text }, settings = { lease_ms = 600 } }
--   server:call("XADD", "orders", "*", "total", 12)
--   e:wait_done()                       -- every stream that ctl knows stands at its last entry
--   assert.same({}, e:letters())
--   e:stop()
--
-- Its log is JSON, so that `e:logged "kind"` gives tables. Every engine has a folder of its own for rules, settings, log and
-- control socket; two engines of one group are two calls of engine.start.
local json = require "dkjson"
local codec = require "spec.support.codec"
local files = require "spec.support.files"
local peer = require "spec.support.peer"
local program = require "spec.support.program"
local tree = require "spec.support.tree"
local wait = require "spec.support.wait"

local engine = {}
local Engine = {}
Engine.__index = Engine

-- A rule file: `body` is the handler; `head` the fields before it (default: stream = "orders").
function engine.rule(body, head)
  return ([[
local tidemill = require "tidemill"
return tidemill.rule {
  %s,
  on_event = function(event, ctx)
    %s
  end,
}
]]):format(head or 'stream = "orders"', body)
end

-- A Lua value as Lua source, for settings files.
local function source(value)
  if type(value) ~= "table" then
    return type(value) == "string" and ("%q"):format(value) or tostring(value)
  end
  local parts = {}
  for k, v in pairs(value) do
    parts[#parts + 1] = ("[%s] = %s"):format(source(k), source(v))
  end
  return "{ " .. table.concat(parts, ", ") .. " }"
end

local function settings_text(settings)
  return "return " .. source(settings or {}) .. "\n"
end

-- A folder with rules and a settings file, for engines and for other commands.
function engine.folder(options)
  local folder = files.temp_folder()
  files.make_folder(folder .. "/rules/lib")
  for name, text in pairs(options.rules or {}) do
    files.make_folder((folder .. "/rules/" .. name):match "^(.*)/")
    files.write_file(folder .. "/rules/" .. name, text)
  end
  files.write_file(folder .. "/settings.lua", options.settings_text or settings_text(options.settings))
  return folder
end

-- Starts an engine. Options:
--   server        of spec.support.redis; or `url`
--   rules         texts by file name; settings: a table; both may be missing when `folder` is given (another engine's)
--   group         default "g"; from: default "start"
--   arguments     more of them; env
--   log_format    default json; log_level: default info
function engine.start(options)
  local self = setmetatable({ server = options.server, group = options.group or "g" }, Engine)
  self.folder = options.folder or engine.folder(options)
  engine.started = (engine.started or 0) + 1
  local mark = self.folder .. "/" .. engine.started
  self.log_path, self.control = mark .. ".log", mark .. ".sock"
  local words = { "run", "--group", self.group, "--rules", self.folder .. "/rules", "--config",
    self.folder .. "/settings.lua", "--control", self.control, "--log-format", options.log_format or "json", "--log-level",
    options.log_level or "info" }
  if options.from ~= false then
    words[#words + 1], words[#words + 2] = "--from", options.from or "start"
  end
  if not options.is_embedded then
    words[#words + 1], words[#words + 2] = "--redis", options.url or options.server:url()
  end
  for _, word in ipairs(options.arguments or {}) do
    words[#words + 1] = word
  end
  self.process = program.start(words, { stderr = self.log_path, env = options.env })
  return self
end

-- Another engine with the same rules, settings and group.
function Engine:another(options)
  local all = { server = self.server, group = self.group, folder = self.folder }
  for k, v in pairs(options or {}) do
    all[k] = v
  end
  return engine.start(all)
end

---- its log ----

function Engine:log()
  return files.read_file(self.log_path) or ""
end

-- What a sanitizer build says, once a process, when an error is thrown from more than 64 MiB deep in the C stack, as rules can (the
-- stack has 256, src/sandbox/stack.h): it then does not clean its marks of that part. No fault of anyone.
local DEEP_STACK_NOTE = "==%d+==WARNING: ASan is ignoring requested __asan_handle_no_return:[^\n]*\n"
  .. "False positive error reports may follow\nFor details see [^\n]*\n"

-- The lines of a kind, or all, as tables. Lines that are no JSON raise.
function Engine:logged(kind)
  local found = {}
  for line in self:log():gsub(DEEP_STACK_NOTE, ""):gmatch "([^\n]*)\n" do
    local parsed = json.decode(line)
    if type(parsed) ~= "table" then
      error("no JSON: " .. line, 2)
    end
    if kind == nil or parsed.kind == kind then
      found[#found + 1] = parsed
    end
  end
  return found
end

-- The first line of a kind (the `number`-th).
function Engine:wait_logged(kind, deadline_s, number)
  local ok, line = pcall(wait.until_true, function()
    return self:logged(kind)[number or 1] or not self.process:is_running() and "ended"
  end, deadline_s or 5, "the log line " .. kind)
  if not ok or line == "ended" then
    error(("no line %s in the log%s:\n%s"):format(kind, ok and "; the engine ended" or "", self:log():sub(-3000)), 2)
  end
  return line
end

---- what it does ----

local function key_prefix(self, tag)
  return "tidemill:" .. (tag and "{" .. tag .. "}:" or "") .. self.group .. ":"
end

-- The name of one of its keys: e:key "ctl", e:key("state:count", "tag").
function Engine:key(name, tag)
  return key_prefix(self, tag) .. name
end

function Engine:ctl(field, tag)
  if field then
    return self.server:call("HGET", self:key("ctl", tag), field)
  end
  return self.server:hash(self:key("ctl", tag))
end

function Engine:position(stream, tag)
  return self:ctl("offset:" .. stream, tag)
end

local function fail_with_log(self, why)
  error(why .. "\nthe engine's log:\n" .. self:log():sub(-3000), 3)
end

-- Waits until `get` gives `expected`; the error shows the engine's log.
function Engine:wait_true(fact, deadline_s, what)
  local last
  local ok, value = pcall(wait.until_true, function()
    local found
    last, found = nil, fact()
    last = found
    return found or not self.process:is_running() and self
  end, deadline_s or 10, what)
  if ok and value == self and not last then
    fail_with_log(self, "the engine has ended before " .. (what or "a fact"))
  elseif not ok then
    fail_with_log(self, value)
  end
  return value
end

function Engine:wait_equal(expected, get, deadline_s, what)
  local last
  local ok, why = pcall(self.wait_true, self, function()
    last = get()
    return last == expected
  end, deadline_s, what)
  if not ok then
    error(("%s\n(expected %s, got %s)"):format(why, tostring(expected), tostring(last)), 2)
  end
end

function Engine:wait_position(stream, id, deadline_s, tag)
  self:wait_equal(id, function() return self:position(stream, tag) end, deadline_s, "the position of " .. stream)
end

-- Every stream of ctl stands at its last entry, and no commit is unverified (so all letters are there too).
function Engine:wait_done(deadline_s, tag)
  self:wait_true(function()
    local ctl, streams = self:ctl(nil, tag), 0
    for field, at in pairs(ctl) do
      local stream = field:match "^offset:(.*)$"
      if stream and self.server:call("TYPE", stream) == "stream" then
        streams = streams + 1
        local last = self.server:call("XINFO", "STREAM", stream)
        for i = 1, #last, 2 do
          if last[i] == "last-generated-id" and last[i + 1] ~= at then
            return false
          end
        end
      end
    end
    return streams > 0 and not ctl.unverified
  end, deadline_s, "the engine to be done with all streams")
  return self
end

-- It owns its partition.
function Engine:wait_owner(tag)
  self:wait_logged "acquired"
  self:wait_true(function() return self.server:call("EXISTS", self:key("lease", tag)) == 1 end, 5, "the lease")
  return self
end

-- msgpack bytes as a Lua value. Integers beyond 2^53 are their decimal text behind "int64 ", nil is "nil", ext is a table.
function engine.unpack(bytes)
  local tokens, at = assert(codec.tokens(bytes, 200, 16777216)), 0
  local function value()
    at = at + 1
    local t = tokens[at]
    if t.type == "m" then
      local map = {}
      for _ = 1, t.len do
        local key = value()
        map[key] = value()
      end
      return map
    elseif t.type == "a" then
      local list = {}
      for i = 1, t.len do
        list[i] = value()
      end
      return list
    elseif t.type == "x" then
      return { ext = t.ext_type, bytes = t.value }
    elseif t.type == "i" or t.type == "u" then
      return "int64 " .. t.value
    elseif t.type == "z" then
      return "nil"
    elseif t.type == "t" or t.type == "f" then
      return t.type == "t"
    end
    return t.value
  end
  return value()
end

-- Dead letters, oldest first: their fields, with `event` as a list, and `letter`, the ID.
function Engine:letters(tag)
  local list = {}
  for i, entry in ipairs(self.server:entries(self:key("dlq", tag))) do
    local fields = entry.fields
    fields.letter = entry.id
    if fields.event ~= "" then
      fields.raw = fields.event
      fields.event = engine.unpack(fields.event)
    end
    list[i] = fields
  end
  return list
end

-- The entries of an output stream, each as the table that was emitted.
function Engine:emitted(stream)
  local list = {}
  for i, entry in ipairs(self.server:entries(stream)) do
    list[i] = engine.unpack(entry.fields.data)
  end
  return list
end

-- A rule's state for a key: the table, its expiry in ms, its version; or nil.
function Engine:state(rule, key, tag)
  local bytes = self.server:call("HGET", self:key("state:" .. rule, tag), key)
  if not bytes then
    return nil
  end
  local packed = engine.unpack(bytes)
  return packed[3], packed[1], packed[2]
end

-- What `tidemill status --json` is made of: the answer of the control socket, parsed.
function Engine:status()
  local connection = peer.connect(self.control)
  connection:write "status\n"
  wait.until_true(function()
    connection:read()
    return connection.is_closed
  end, 5, "the control socket's answer")
  local answer = connection:take()
  connection:close()
  return json.decode(answer), answer
end

-- The consumer group's row of XINFO GROUPS as a table.
function Engine:group_info(stream)
  for _, row in ipairs(self.server:call("XINFO", "GROUPS", stream)) do
    local info = {}
    for i = 1, #row, 2 do
      info[row[i]] = row[i + 1]
    end
    if info.name == self.group then
      return info
    end
  end
end

---- the processes ----

local TICKS_PER_S = 100

-- The pids of its workers, in the order of their numbers.
function Engine:workers()
  return tree.workers(self.process)
end

-- Waits for so many workers, and returns their pids.
function Engine:wait_workers(count, deadline_s)
  self:wait_equal(count or 1, function() return #self:workers() end, deadline_s or 5, "its workers")
  return self:workers()
end

-- A signal (SIGKILL) to one of its workers (the first), whatever it is doing. Returns the pid.
function Engine:kill_worker(number, signal)
  local pid = assert(self:workers()[number or 1], "no such worker")
  tree.send(pid, signal or "KILL")
  return pid
end

-- A signal to the supervisor and all its workers.
function Engine:signal(name)
  tree.signal(self.process, name)
end

local function cpu_of(pid)
  local stat = assert(files.read_file("/proc/" .. pid .. "/stat"))
  local fields, n = {}, 0
  for word in stat:match "^.*%) (.*)$":gmatch "%S+" do
    n = n + 1
    fields[n] = word
  end
  return (tonumber(fields[12]) + tonumber(fields[13])) / TICKS_PER_S
end

-- CPU seconds that supervisor and workers have used, user and system.
function Engine:cpu_s()
  local sum = cpu_of(self.process.pid)
  for _, pid in ipairs(self:workers()) do
    sum = sum + cpu_of(pid)
  end
  return sum
end

-- Most resident memory so far, in KiB, of its largest process.
function Engine:peak_kb()
  local most = 0
  local pids = self:workers()
  pids[#pids + 1] = self.process.pid
  for _, pid in ipairs(pids) do
    most = math.max(most, tonumber(assert(files.read_file("/proc/" .. pid .. "/status")):match "VmHWM:%s*(%d+)"))
  end
  return most
end

-- SIGTERM; raises unless it ends with 0 within a second.
function Engine:stop(deadline_s)
  if self.process:is_running() then
    self:signal "CONT"
    self.process:signal "TERM"
  end
  self:expect(0, deadline_s or 2)
end

-- Its exit status must be `code`; the error shows its log.
function Engine:expect(code, deadline_s)
  local ok, status = pcall(self.process.wait, self.process, deadline_s or 5)
  if not ok or status.code ~= code then
    fail_with_log(self, ok and ("the engine ended with %s %s, expected exit status %d"):format(
      status.code and "exit status" or "signal", status.code or status.signal, code) or status)
  end
  return self
end

-- SIGKILL to all of it, whatever state it is in.
function Engine:kill()
  tree.kill(self.process)
end

-- What after_each does: ends the engine and the proxy, where there are any, and the server. Returns two nils, for their places.
function engine.clear(server, e, front)
  if e then
    e:kill()
  end
  if front then
    front:stop()
  end
  server:stop()
  return nil, nil
end

---- input ----

local function pack_value(value)
  if type(value) == "table" then
    return engine.pack(value)
  elseif type(value) == "boolean" then
    return value and "\xc3" or "\xc2"
  elseif type(value) == "string" then
    return codec.head("string", #value) .. value
  elseif value >= 0 and value < 128 and value % 1 == 0 then
    return string.char(value)
  elseif value >= 0 and value < 2 ^ 32 and value % 1 == 0 then
    return "\xce" .. codec.big(value, 4)
  end
  return (assert(codec.from_json(("%.17g"):format(value))))
end

-- Packs a table as msgpack: a list as an array, anything else as a map with sorted keys. Strings, numbers, booleans, tables.
function engine.pack(t)
  local names, parts = {}, {}
  for name in pairs(t) do
    names[#names + 1] = name
  end
  if #t > 0 then
    for i, value in ipairs(t) do
      parts[i] = pack_value(value)
    end
    return codec.head("array", #t) .. table.concat(parts)
  end
  table.sort(names)
  for i, name in ipairs(names) do
    parts[i] = pack_value(name) .. pack_value(t[name])
  end
  return codec.head("map", #names) .. table.concat(parts)
end

-- Adds events, { id?, table } each or tables alone, packed, in one pipeline.
function engine.send(server, stream, events)
  local commands = {}
  for i, event in ipairs(events) do
    commands[i] = { "XADD", stream, event.id or "*", "data", engine.pack(event.id and event[1] or event) }
  end
  return server:pipeline(commands)
end

-- `count` events { n = 1 … }, each with the fields of `make(n)` added, IDs 1-n unless `ms` says another first part.
function engine.flood(server, stream, count, make, ms)
  local commands = {}
  for n = 1, count do
    local event = make and make(n) or {}
    event.n = n
    commands[#commands + 1] = { "XADD", stream, ("%s-%d"):format(ms or 1, n), "data", engine.pack(event) }
    if #commands == 10000 then
      server:pipeline(commands)
      commands = {}
    end
  end
  if #commands > 0 then
    server:pipeline(commands)
  end
end

return engine
