-- job_submit.lua - what Jean Zay refuses when a job is submitted, on the partitions of jeanzay.conf: it stands in for
-- accounts and QoS, which Slurm keeps in a database that the test cluster does not have.  Written from the published
-- rules, not from IDRIS's own filter: the kind of a job follows from its constraint, account and kind must agree, each
-- kind has its QoS.  Jobs of the real partition 'tiny' pass.

local HOURS = 60 -- Slurm's times are minutes
local qos = { -- per kind of account: longest time, most GPUs
    v100 = { ["qos_gpu-dev"] = { 2, 32 }, ["qos_gpu-t3"] = { 20, 512 }, ["qos_gpu-t4"] = { 100, 16 } },
    a100 = { ["qos_gpu_a100-dev"] = { 2, 32 }, ["qos_gpu_a100-t3"] = { 20, 512 } },
    h100 = { ["qos_gpu_h100-dev"] = { 2, 32 }, ["qos_gpu_h100-t3"] = { 20, 512 }, ["qos_gpu_h100-t4"] = { 100, 64 } },
    cpu = { ["qos_cpu-dev"] = { 2, 0 }, ["qos_cpu-t3"] = { 20, 0 }, ["qos_cpu-t4"] = { 100, 0 } },
}
local kind_of_partition = {
    gpu_p13 = "v100", gpu_p2 = "v100", gpu_p2s = "v100", gpu_p2l = "v100", gpu_p5 = "a100", gpu_p6 = "h100",
    cpu_p1 = "cpu", prepost = "cpu", archive = "cpu", compil = "cpu", compil_h100 = "cpu",
}
local without_qos = { prepost = true, archive = true, compil = true, compil_h100 = true }

local function refuse(text)
    slurm.log_user("mock: " .. text)
    return slurm.ERROR
end

-- The partition follows from the constraint, as on the machine; without either, jobs with GPUs are V100 jobs.
local function choose_partition(job)
    if job.partition ~= nil and job.partition ~= "" then return job.partition end
    local features = job.features or ""
    if features:find("h100") then return "gpu_p6" end
    if features:find("a100") then return "gpu_p5" end
    if job.account ~= nil then return (job.tres_per_node or ""):find("gpu") and "gpu_p13" or "cpu_p1" end
    return nil
end

function slurm_job_submit(job, partitions, uid)
    local partition = choose_partition(job)
    local kind = partition and kind_of_partition[partition]
    if not kind then return slurm.SUCCESS end
    job.partition = partition
    local suffix = (job.account or ""):match("@(%w+)$")
    if not suffix then return refuse("an account with its suffix is needed, such as abc@" .. kind) end
    if suffix ~= kind then return refuse("account " .. job.account .. " ----- job type " .. kind) end
    if job.time_limit == slurm.NO_VAL then return refuse("no time limit: it would be 10 minutes") end
    if without_qos[partition] then
        if job.qos then return refuse("partition " .. partition .. " takes no QoS") end
        return slurm.SUCCESS
    end
    local limits = qos[kind][job.qos or ""]
    if not limits then return refuse("QoS " .. (job.qos or "none") .. " does not exist for " .. kind) end
    if job.time_limit > limits[1] * HOURS then return refuse("time limit of QoS " .. job.qos) end
    local gpus = tonumber((job.tres_per_node or ""):match("gpu:(%d+)$") or 0)
    local nodes = job.min_nodes == slurm.NO_VAL and 1 or job.min_nodes
    if gpus * nodes > limits[2] and kind ~= "cpu" then return refuse("number of GPUs of QoS " .. job.qos) end
    return slurm.SUCCESS
end

function slurm_job_modify(job, record, partitions, uid)
    return slurm.SUCCESS
end

return slurm.SUCCESS
