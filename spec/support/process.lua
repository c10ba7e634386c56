-- process.lua: programs under test: started, signalled, waited for with a deadline, and never left
-- behind.
--
--   local p = process.start { "build/release/tidemill", "run", env = { REDIS_URL = url }, stderr = path }
--   p:signal("TERM")
--   local status = p:wait(5)     -- { code = 0 } or { signal = 9 }
--
-- A child dies with us whatever happens: the kernel kills it (PR_SET_PDEATHSIG) when we die, and
-- the end of the Lua state kills those that are left.
local ffi = require "ffi"
local bit = require "bit"
local files = require "spec.support.files"
local wait = require "spec.support.wait"

ffi.cdef [[
  int fork(void);
  int execvpe(const char *file, const char *const *argv, const char *const *envp);
  int waitpid(int pid, int *status, int options);
  int kill(int pid, int signal);
  int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d);
  int open(const char *path, int flags, ...);
  int dup2(int from, int to);
  int close(int fd);
  int close_range(unsigned first, unsigned last, int flags);
  int chdir(const char *path);
  int setpgid(int pid, int group);
  int getppid(void);
  int sigemptyset(void *set);
  int sigprocmask(int how, const void *set, void *before);
  void _exit(int code);
  long syscall(long number, ...);
  struct spec_pollfd { int fd; short events; short revents; };
  int poll(struct spec_pollfd *list, unsigned long count, int timeout_ms);
  extern char **environ;
]]

local C = ffi.C
local process = {}
local Process = {}
Process.__index = Process

local SIGNALS = { HUP = 1, INT = 2, QUIT = 3, ABRT = 6, KILL = 9, USR1 = 10, SEGV = 11, USR2 = 12,
  TERM = 15, CONT = 18, STOP = 19 }
local O_RDONLY, O_WRONLY, O_CREAT, O_APPEND, O_CLOEXEC = 0, 1, 64, 1024, 524288
local PR_SET_PDEATHSIG, SIG_SETMASK, WNOHANG, POLLIN, SYS_PIDFD_OPEN = 1, 2, 1, 1, 434

-- Children that were not waited for: pid -> true.
local alive = {}
local owner_pid = C.getpid()

local reaper = newproxy(true)
getmetatable(reaper).__gc = function()
  if C.getpid() ~= owner_pid then
    return
  end
  for pid in pairs(alive) do
    C.kill(pid, SIGNALS.KILL)
    C.waitpid(pid, nil, 0)
  end
end
-- Lives as long as the state, even when busted forgets this module.
debug.getregistry()[reaper] = true

-- A NULL-ended vector of C strings; the second result keeps them alive.
local function vector(list)
  local keep = {}
  local out = ffi.new("const char *[?]", #list + 1)
  for i, text in ipairs(list) do
    keep[i] = tostring(text)
    out[i - 1] = keep[i]
  end
  return out, keep
end

-- Our environment with `changes`; false takes a variable away. LD_PRELOAD, by which the specs
-- themselves get the sanitizers (scripts/spec), is not for children: a sanitizer build of ours
-- brings its own.
local function environment(changes)
  local list, i = {}, 0
  while C.environ[i] ~= nil do
    local entry = ffi.string(C.environ[i])
    local name = entry:match("^[^=]*")
    if changes[name] == nil and name ~= "LD_PRELOAD" then
      list[#list + 1] = entry
    end
    i = i + 1
  end
  for name, value in pairs(changes) do
    if value then
      list[#list + 1] = name .. "=" .. tostring(value)
    end
  end
  return list
end

local function open(path, flags)
  local fd = C.open(path, bit.bor(flags, O_CLOEXEC), ffi.cast("int", 420)) -- 0644
  assert(fd >= 0, "cannot open " .. path)
  return fd
end

-- In the child, between fork and exec: calls into C only.
local function become(argv, envp, folder, fds, parent)
  C.prctl(PR_SET_PDEATHSIG, SIGNALS.KILL, 0, 0, 0)
  if C.getppid() ~= parent then
    C._exit(127)
  end
  local none = ffi.new("uint64_t[32]")
  C.sigemptyset(none)
  C.sigprocmask(SIG_SETMASK, none, nil)
  for i = 0, 2 do
    C.dup2(fds[i], i)
  end
  C.close_range(3, 0xffffffff, 0)
  if folder == nil or C.chdir(folder) == 0 then
    C.execvpe(argv[0], argv, envp)
  end
  C._exit(127)
end
jit.off(become, true)

-- Starts options[1] (searched in PATH) with the arguments options[2], …. Also: `env` (changes to
-- ours; false takes one away), `folder` to start in, `stdin`, `stdout`, `stderr`: paths of files
-- (default /dev/null; output is appended).
function process.start(options)
  local argv, keep_argv = vector(options)
  local envp, keep_envp = vector(environment(options.env or {}))
  local fds = ffi.new("int[3]", open(options.stdin or "/dev/null", O_RDONLY),
    open(options.stdout or "/dev/null", O_WRONLY + O_CREAT + O_APPEND),
    open(options.stderr or "/dev/null", O_WRONLY + O_CREAT + O_APPEND))
  io.stdout:flush()
  io.stderr:flush()
  local pid = C.fork()
  assert(pid >= 0, "fork failed")
  if pid == 0 then
    become(argv, envp, options.folder, fds, owner_pid)
  end
  for i = 0, 2 do
    C.close(fds[i])
  end
  alive[pid] = true
  assert(#keep_argv > 0 and keep_envp)
  return setmetatable({ pid = pid, name = options[1], stdout_path = options.stdout,
    stderr_path = options.stderr }, Process)
end
jit.off(process.start, true)

-- Takes the status when the child has ended; nil while it runs.
local function collect(self, flags)
  local status = ffi.new("int[1]")
  if not self.status and C.waitpid(self.pid, status, flags) == self.pid then
    local signal = bit.band(status[0], 0x7f)
    alive[self.pid] = nil
    local code = bit.band(bit.rshift(status[0], 8), 0xff)
    self.status = signal ~= 0 and { signal = signal } or { code = code }
  end
  return self.status
end

function Process:is_running()
  return collect(self, WNOHANG) == nil
end

-- By name ("TERM", "KILL", "STOP", "CONT", …) or number. An ended child is left alone.
function Process:signal(name)
  if self:is_running() then
    C.kill(self.pid, SIGNALS[name] or assert(tonumber(name), "unknown signal " .. tostring(name)))
  end
  return self
end

local function describe(status)
  return status.code and "exit status " .. status.code or "signal " .. status.signal
end

-- { code = N } or { signal = N }; raises when it still runs after `deadline_s` (default 5).
function Process:wait(deadline_s)
  local limit = wait.now() + (deadline_s or 5)
  local fd = -1
  if not self.status then
    fd = tonumber(C.syscall(SYS_PIDFD_OPEN, ffi.cast("int", self.pid), ffi.cast("int", 0)))
  end
  local list = ffi.new("struct spec_pollfd[1]", { { fd = fd, events = POLLIN } })
  while self:is_running() and wait.now() < limit do
    C.poll(list, 1, math.max(1, math.ceil((limit - wait.now()) * 1000)))
  end
  if fd >= 0 then
    C.close(fd)
  end
  return collect(self, WNOHANG)
    or error(("%s (pid %d) still runs after %gs"):format(self.name, self.pid, deadline_s or 5), 2)
end

-- Waits and raises unless the exit status is `code` (default 0); the error shows the end of its
-- stderr.
function Process:expect(code, deadline_s)
  local status = self:wait(deadline_s)
  if status.code ~= (code or 0) then
    local said = self.stderr_path and files.read_file(self.stderr_path) or ""
    error(("%s ended with %s, expected %d; it said: %s"):format(self.name, describe(status),
      code or 0, said:sub(-1500)), 2)
  end
  return status
end

-- SIGKILL and the status.
function Process:kill()
  self:signal("KILL")
  return self:wait(10)
end

-- What it wrote so far, when it writes into files.
function Process:stdout()
  return files.read_file(self.stdout_path) or ""
end

function Process:stderr()
  return files.read_file(self.stderr_path) or ""
end

-- Runs a program to its end: options as of start; stdout and stderr default to temporary files.
-- Returns code (or nil and the signal in status), stdout, stderr.
function process.run(options, deadline_s)
  local folder = files.temp_folder()
  options.stdout = options.stdout or folder .. "/stdout"
  options.stderr = options.stderr or folder .. "/stderr"
  if options.input then
    options.stdin = folder .. "/stdin"
    files.write_file(options.stdin, options.input)
  end
  local p = process.start(options)
  local ok, status = pcall(p.wait, p, deadline_s or 10)
  if not ok then
    p:kill()
  end
  local out, err = p:stdout(), p:stderr()
  files.remove_folder(folder)
  if not ok then
    error(("%s; it said: %s"):format(status, err:sub(-1500)), 2)
  end
  return status.code, out, err, status
end

return process
