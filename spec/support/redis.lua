-- redis.lua: a real redis-server of one's own, on a private unix socket, and a client for specs.
--
--   local redis = require "spec.support.redis"
--   local server = redis.start { config = { "appendonly yes", "appendfsync always" } }
--   server:call("XADD", "orders", "*", "total", 12)
--   server:stop()
--
-- Replies become Lua values: strings and statuses are strings, integers numbers (int64_t where a
-- number would lose digits), arrays tables, nil is nil, inside arrays false. An error reply raises,
-- with call; pcall returns nil and its text; inside arrays it is { err = text }.
local ffi = require "ffi"
local header = require "spec.support.header"
local files = require "spec.support.files"
local process = require "spec.support.process"
local wait = require "spec.support.wait"

local C = header.load("src/redis/client.h", "src/redis/command.h")

local redis = {}
local Client = {}
Client.__index = Client
local Server = {}
Server.__index = Server

---- client ----

local to_lua

local function array_to_lua(reply)
  local list = {}
  for i = 0, reply.count - 1 do
    local value, why = to_lua(reply.elements[i])
    if value == nil then
      value = why and { err = why } or false
    end
    list[i + 1] = value
  end
  return list
end

-- A reply as a Lua value; an error reply is nil and its text.
function to_lua(reply)
  if reply.type == C.REPLY_ARRAY then
    return array_to_lua(reply)
  elseif reply.type == C.REPLY_INTEGER then
    local number = tonumber(reply.integer)
    return math.abs(number) < 2 ^ 53 and number or reply.integer
  elseif reply.type == C.REPLY_NIL then
    return nil
  elseif reply.type == C.REPLY_ERROR then
    return nil, ffi.string(reply.text, reply.len)
  end
  return ffi.string(reply.text, reply.len)
end
redis.to_lua = to_lua

local function to_text(value)
  if type(value) == "number" then
    return value % 1 == 0 and ("%.0f"):format(value) or ("%.17g"):format(value)
  elseif type(value) == "cdata" then
    return (tostring(value):gsub("U?LL$", ""))
  end
  return value
end

-- C's view of a list of arguments; the last result keeps the strings alive.
local function arguments(list, count)
  local argv, lens, keep = ffi.new("const char *[?]", count), ffi.new("size_t[?]", count), {}
  for i = 1, count do
    local text = to_text(list[i])
    assert(type(text) == "string", "argument " .. i .. " of a Redis command is a " .. type(text))
    argv[i - 1], lens[i - 1], keep[i] = text, #text, text
  end
  return argv, lens, keep
end
redis.arguments = arguments

-- Connects; raises with the reason when that fails. `url` as in --redis.
function redis.connect(url)
  local out, why = ffi.new("struct client *[1]"), ffi.new("struct error")
  if C.client_open(url, out, why) ~= 0 then
    error(ffi.string(why.text), 2)
  end
  return setmetatable({ handle = ffi.gc(out[0], C.client_close), url = url }, Client)
end

-- One command. An error reply: nil and its text. Raises when the connection fails; the next call
-- connects anew.
function Client:pcall(...)
  assert(self.handle, "the client is closed")
  local count = select("#", ...)
  local argv, lens, keep = arguments({ ... }, count)
  local reply, why = ffi.new("const struct reply *[1]"), ffi.new("struct error")
  if C.client_call_argv(self.handle, count, argv, lens, reply, why) ~= 0 then
    error(ffi.string(why.text), 2)
  end
  assert(#keep == count)
  return to_lua(reply[0])
end

function Client:call(...)
  local value, why = self:pcall(...)
  if why then
    error(("%s: %s"):format(tostring((...)), why), 2)
  end
  return value
end

-- Many commands in one write: a list of lists. Returns the list of replies; an error reply is a
-- table { err = text }.
function Client:pipeline(commands)
  local replies, out, why = {}, C.client_out(self.handle), ffi.new("struct error")
  for _, command in ipairs(commands) do
    local argv, lens, keep = arguments(command, #command)
    C.command_append_argv(out, #command, argv, lens)
    assert(#keep == #command)
  end
  local each = ffi.cast("link_reply_call *", function(_, reply)
    local value, err = to_lua(reply)
    if value == nil then
      value = err and { err = err } or false
    end
    replies[#replies + 1] = value
  end)
  local code = C.client_run(self.handle, #commands, each, nil, why)
  each:free()
  if code ~= 0 then
    error(ffi.string(why.text), 2)
  end
  return replies
end
jit.off(Client.pipeline, true)

-- How long a command may take before the connection is given up, for blocking ones. 0: the default.
function Client:set_patience(seconds)
  C.client_set_patience(self.handle, seconds * 1000)
end

-- A hash as a table by field.
function Client:hash(key)
  local list, out = self:call("HGETALL", key), {}
  for i = 1, #list, 2 do
    out[list[i]] = list[i + 1]
  end
  return out
end

-- The entries of a stream as { { id = "1-0", fields = { field = value } }, … }.
function Client:entries(stream, from, to)
  local out = {}
  for i, entry in ipairs(self:call("XRANGE", stream, from or "-", to or "+")) do
    local fields = {}
    for k = 1, #entry[2], 2 do
      fields[entry[2][k]] = entry[2][k + 1]
    end
    out[i] = { id = entry[1], fields = fields }
  end
  return out
end

function Client:close()
  if self.handle then
    ffi.gc(self.handle, nil)
    C.client_close(self.handle)
    self.handle = nil
  end
end

---- server ----

ffi.cdef [[
  struct spec_inet { uint16_t family; uint16_t port; uint32_t address; uint64_t zero; };
  int socket(int domain, int type, int protocol);
  int bind(int fd, const void *address, unsigned len);
  int getsockname(int fd, void *address, unsigned *len);
  uint16_t ntohs(uint16_t port);
  uint32_t htonl(uint32_t address);
]]

-- A TCP port of 127.0.0.1 that nobody listens on now.
function redis.free_port()
  local localhost = ffi.C.htonl(0x7f000001)
  local at = ffi.new("struct spec_inet", { family = 2, port = 0, address = localhost })
  local len = ffi.new("unsigned[1]", ffi.sizeof(at))
  local fd = ffi.C.socket(2, 1, 0)
  assert(fd >= 0 and ffi.C.bind(fd, at, ffi.sizeof(at)) == 0)
  assert(ffi.C.getsockname(fd, at, len) == 0)
  ffi.C.close(fd)
  return ffi.C.ntohs(at.port)
end

-- Starts a server and waits until it answers. Options:
--   config    lines of redis.conf ("requirepass x"); persistence is off unless they say otherwise
--   tcp       true: also on a free port of 127.0.0.1 (and ::1 where there is one)
--   folder    where to live, an earlier server's for its data; default: a new temporary folder
--   program   default redis-server
--   user, password   for our own client, where the config asks for them
--   wait      false: return at once
function redis.start(options)
  options = options or {}
  local self = setmetatable({ options = options }, Server)
  self.folder = options.folder or files.temp_folder()
  self.socket = self.folder .. "/redis.sock"
  self.port = options.tcp and redis.free_port() or 0
  self.config = self.folder .. "/redis.conf"
  self.log_path = self.folder .. "/redis.log"
  self:configure(options.config or {})
  self:launch()
  return self
end

-- Replaces the config lines; they count from the next launch on.
function Server:configure(lines)
  local text = ([[
bind 127.0.0.1 -::1
port %d
unixsocket %s
dir %s
save ""
appendonly no
protected-mode no
enable-debug-command yes
loglevel notice
%s
]]):format(self.port, self.socket, self.folder, table.concat(lines, "\n"))
  files.write_file(self.config, text)
end

-- Starts the process (again); not to be called while it runs.
function Server:launch()
  os.remove(self.socket)
  self.process = process.start { self.options.program or "redis-server", self.config,
    stdout = self.log_path, stderr = self.log_path }
  if self.options.wait ~= false then
    self:wait_ready()
  end
  return self
end

-- Until it answers and has loaded its data.
function Server:wait_ready(deadline_s)
  wait.until_true(function()
    if not self.process:is_running() then
      return true
    end
    return self:own():call("INFO", "persistence"):find("\nloading:0", 1, true)
  end, deadline_s or 10, "redis-server to answer on " .. self.socket)
  if not self.process:is_running() then
    error("redis-server did not start: " .. self:log():sub(-1500), 2)
  end
  return self
end

local function credentials(options)
  if not options.password then
    return ""
  end
  return (options.user or "") .. ":" .. options.password .. "@"
end

-- unix://…, as --redis takes it. `rest` such as "?db=2"; `who` such as "user:password@".
function Server:url(rest, who)
  return "unix://" .. (who or credentials(self.options)) .. self.socket .. (rest or "")
end

-- redis://127.0.0.1:port…
function Server:tcp_url(rest, who, host)
  return ("redis://%s%s:%d%s"):format(who or credentials(self.options), host or "127.0.0.1",
    self.port, rest or "")
end

-- A client of its own; closed with the server.
function Server:connect(rest)
  local client = redis.connect(self:url(rest))
  self.clients = self.clients or {}
  table.insert(self.clients, client)
  return client
end

-- The server's own client, made at the first use.
function Server:own()
  self.client = self.client or self:connect()
  return self.client
end

for _, name in ipairs { "call", "pcall", "pipeline", "hash", "entries" } do
  Server[name] = function(self, ...)
    local client = self:own()
    return client[name](client, ...)
  end
end

-- SIGTERM, and waits until it is gone. Its folder stays for a later launch and goes with the specs.
function Server:shutdown(deadline_s)
  self.process:signal("CONT")
  self.process:signal("TERM")
  local ok = pcall(self.process.wait, self.process, deadline_s or 10)
  if not ok then
    self.process:kill()
  end
  return self
end

-- SIGKILL, as a crash would.
function Server:kill()
  self.process:kill()
  return self
end

function Server:restart()
  self:shutdown()
  return self:launch()
end

-- Alive but silent, until resume.
function Server:pause()
  self.process:signal("STOP")
  return self
end

function Server:resume()
  self.process:signal("CONT")
  return self
end

-- The end of it: process, clients and folder.
function Server:stop()
  self:shutdown()
  for _, client in ipairs(self.clients or {}) do
    client:close()
  end
  self.clients, self.client = nil, nil
  if not self.options.folder then
    files.remove_folder(self.folder)
  end
end

function Server:log()
  return files.read_file(self.log_path) or ""
end

return redis
