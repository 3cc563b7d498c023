# SPDX-License-Identifier: Apache-2.0
# The first run of Umbra's VSS provider on a Windows Server: steps 2 to 9 of docs/first-run-windows.md, on a LUN of its own,
# ALL OF WHICH IS LOST. Leaves a report beside what it made, in a folder that it names at the end.
#
#   powershell -ExecutionPolicy Bypass -File first-run.ps1 -Disk 3 [-Letter U] [-CopyLetter S] [-UmbraVss PATH] [-Overwrite]
#
# -Disk is the number that Get-Disk shows; -Overwrite: it has partitions, which may be lost. Run it in an elevated console.
param(
    [Parameter(Mandatory = $true)][int]$Disk,
    [string]$Letter = 'U',
    [string]$CopyLetter = 'S',
    [string]$UmbraVss = "$env:ProgramFiles\Umbra\umbra-vss.exe",
    [switch]$Overwrite
)
$ErrorActionPreference = 'Stop'
$Folder = Join-Path $env:TEMP ('umbra-first-run-' + (Get-Date -Format 'yyyyMMdd-HHmmss'))
$Volume = "${Letter}:"
$Copy = "${CopyLetter}:"
$Metadata = Join-Path $Folder 'set.cab'
$Report = Join-Path $Folder 'report.txt'
$Named = Get-Disk -Number $Disk
if ($Named.FriendlyName -notlike 'UMBRADEV*') { throw "disk $Disk is no LUN of an Umbra array" }
if ($Named.PartitionStyle -ne 'RAW' -and -not $Overwrite) { throw "disk $Disk has partitions: with -Overwrite they are lost" }
New-Item -ItemType Directory -Path $Folder | Out-Null

function Write-Report([string]$Text) {
    Write-Host $Text
    Add-Content -Path $Report -Value $Text
}

# A step is over when what it runs has ended well; else the script ends, with everything that tells why.
function Invoke-Step([string]$Name, [scriptblock]$Body) {
    Write-Report "== $Name"
    try {
        & $Body | ForEach-Object { Write-Report "   $_" }
    } catch {
        Write-Report "FAILED: $_"
        & $UmbraVss support "$Folder\support.txt"
        Write-Report "See $Folder; docs/first-run-windows.md says what each step needs."
        exit 1
    }
}

function Assert-Exit([string]$What) {
    if ($LASTEXITCODE -ne 0) { throw "$What ended with exit code $LASTEXITCODE" }
}

function Invoke-DiskShadow([string]$Name, [string]$Script) {
    $File = Join-Path $Folder "$Name.dsh"
    Set-Content -Path $File -Value ($Script -split "`r?`n") -Encoding ASCII # lines end as Windows' do
    diskshadow /s $File
    Assert-Exit "diskshadow $Name"
}

function Set-Content-Of-Volume([string]$Text) {
    Set-Content -Path "$Volume\umbra.txt" -Value $Text -Encoding ASCII
    Write-VolumeCache -DriveLetter $Letter
}

function Assert-Content([string]$Drive, [string]$Text) {
    $Found = (Get-Content -Path "$Drive\umbra.txt" -Raw).Trim()
    if ($Found -ne $Text) { throw "$Drive\umbra.txt holds '$Found', not '$Text'" }
}

Invoke-Step '2 the provider is installed' {
    & $UmbraVss status
    Assert-Exit 'umbra-vss status'
    vssadmin list providers
    Assert-Exit 'vssadmin'
}

Invoke-Step '3 all that a shadow copy needs is there' {
    & $UmbraVss check
    Assert-Exit 'umbra-vss check'
}

Invoke-Step '4 a volume on the LUN' {
    Set-Disk -Number $Disk -IsOffline $false
    Set-Disk -Number $Disk -IsReadOnly $false
    if ($Named.PartitionStyle -ne 'RAW') { Clear-Disk -Number $Disk -RemoveData -RemoveOEM -Confirm:$false }
    Initialize-Disk -Number $Disk -PartitionStyle GPT
    New-Partition -DiskNumber $Disk -UseMaximumSize -DriveLetter $Letter | Format-Volume -FileSystem NTFS -NewFileSystemLabel umbra -Confirm:$false
    Set-Content-Of-Volume 'first'
}

Invoke-Step '5 a shadow copy is prepared and given up' {
    & $UmbraVss check --lun "PhysicalDrive$Disk"
    Assert-Exit 'umbra-vss check --lun'
}

Invoke-Step '6 a shadow copy is taken' {
    Invoke-DiskShadow 'create' @"
set context persistent
set option transportable
set metadata $Metadata
begin backup
add volume $Volume alias data provider {C27FDB10-24D1-4708-9442-880E6246FE94}
create
end backup
"@
    Set-Content-Of-Volume 'second'
}

Invoke-Step '7 it is imported, compared and deleted' {
    Invoke-DiskShadow 'import' @"
load metadata $Metadata
import
expose %data% $Copy
"@
    Assert-Content $Copy 'first'
    Assert-Content $Volume 'second'
    Invoke-DiskShadow 'delete' @"
delete shadows exposed $Copy
list shadows all
"@
}

Invoke-Step '8 the volume comes back by a resync' {
    $Metadata = Join-Path $Folder 'resync.cab'
    Invoke-DiskShadow 'create-resync' @"
set context persistent
set option transportable
set metadata $Metadata
begin backup
add volume $Volume alias data
create
end backup
"@
    Set-Content-Of-Volume 'third'
    Invoke-DiskShadow 'resync' @"
load metadata $Metadata
add shadow %data%
resync
"@
    Update-HostStorageCache
    Assert-Content $Volume 'second'
    Invoke-DiskShadow 'delete-resync' @"
load metadata $Metadata
import
delete shadows set %VSS_SHADOW_SET%
"@
}

Invoke-Step '9 a copy is broken off and becomes a disk' {
    $Metadata = Join-Path $Folder 'break.cab'
    Invoke-DiskShadow 'create-break' @"
set context persistent
set option transportable
set metadata $Metadata
begin backup
add volume $Volume alias data
create
end backup
"@
    Invoke-DiskShadow 'break' @"
load metadata $Metadata
import
break writable %VSS_SHADOW_SET%
"@
    & $UmbraVss check
    Assert-Exit 'umbra-vss check'
    & $UmbraVss orphans
    Assert-Exit 'umbra-vss orphans'
}

& $UmbraVss support "$Folder\support.txt"
Write-Report "All steps went well. One LUN more is mapped to this server now, the copy of step 9: the array's administrator"
Write-Report "deletes it (umbractl unmap, umbractl lun delete). The report and support.txt are in $Folder."
